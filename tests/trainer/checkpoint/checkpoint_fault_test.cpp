// Whatever goes wrong at whatever call: the old checkpoint or the new one loads, never a mixture,
// every rank hears of it, and the next save works.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "tests/support/spawn_ranks.h"
#include "tests/trainer/checkpoint/checkpoint_fixture.h"
#include "trainer/checkpoint/checkpoint_writer.h"
#include "trainer/checkpoint/faulty_file_operations.h"
#include "trainer/exit_code.h"

namespace moesaic::tests {
namespace {

using parallel::Communicator;
using testing::HasSubstr;
using trainer::ExitCode;
using trainer::ExitError;
using trainer::SaveRequest;
using Split = TestState::Split;
using Adjust = std::function<void(SaveRequest&, int rank)>;

constexpr int64_t kOldStep = 10;
constexpr int64_t kNewStep = 20;
constexpr int kOld = 1;
constexpr int kNew = 2;
constexpr int kLater = 3;

class CheckpointFault : public CheckpointFixture {
 protected:
  void SetUp() override {
    CheckpointFixture::SetUp();
    save(1, kOldStep, kOld);
    std::filesystem::copy(checkpoints(), root() / "pristine",
                          std::filesystem::copy_options::recursive);
  }

  void restore() {
    std::filesystem::remove_all(checkpoints());
    std::filesystem::copy(root() / "pristine", checkpoints(),
                          std::filesystem::copy_options::recursive);
  }

  void save(int num_ranks, int64_t step, int version, const Adjust& adjust = {}) {
    spawn_ranks(num_ranks, [&](Communicator& communicator) {
      save_version(communicator, checkpoints(), step, version, Split::kByBytes, [&](auto& request) {
        if (adjust)
          adjust(request, communicator.rank());
      });
    });
  }

  // Saves kNew as `step` and returns what the ranks heard, the same for each: "" when it worked.
  std::string try_save(int num_ranks, int64_t step, const Adjust& adjust) {
    std::vector<std::string> messages(num_ranks);
    spawn_ranks(num_ranks, [&](Communicator& communicator) {
      const int rank = communicator.rank();
      try {
        save_version(communicator, checkpoints(), step, kNew, Split::kByBytes,
                     [&](auto& request) { adjust(request, rank); });
      } catch (const ExitError& error) {
        EXPECT_EQ(error.code(), ExitCode::kStorage) << error.what();
        messages[rank] = error.what();
      }
    });
    for (const auto& message : messages)
      EXPECT_EQ(message, messages[0]);
    return messages[0];
  }

  // What a resumed run would load.
  int newest_version() {
    int version = -2;
    spawn_ranks(1, [&](Communicator& communicator) {
      const auto newest = trainer::newest_valid(communicator, checkpoints(), {});
      ASSERT_TRUE(newest);
      version = load_version(communicator, newest->path, {kOld, kNew, kLater});
    });
    return version;
  }

  bool has_leftovers() { return !trainer::list_leftovers(checkpoints()).empty(); }

  void expect_that_the_next_save_works(const std::string& context) {
    save(1, kNewStep + 1, kLater);
    EXPECT_EQ(newest_version(), kLater) << context;
    EXPECT_FALSE(has_leftovers()) << context;
  }

  // Runs `body` in a child process and returns its status as waitpid gives it.
  int in_child(const std::function<void()>& body) {
    const pid_t child = ::fork();
    if (child == 0) {
      try {
        body();
      } catch (const std::exception&) {
        ::_exit(1);
      }
      ::_exit(0);
    }
    int status = 0;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    return status;
  }
};

bool was_killed(int status) {
  return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

TEST_F(CheckpointFault, AKillAtEachPhaseLeavesOldOrNew) {
  const std::vector<std::pair<const char*, int>> phases = {
      {"save.begin", kOld},         {"save.after_write", kOld},  {"save.before_manifest", kOld},
      {"save.before_rename", kOld}, {"save.after_rename", kNew}, {"save.before_latest", kNew}};
  for (const auto& [phase, expected] : phases) {
    for (const int victim : {0, 1}) {
      restore();
      const int status = in_child([&, phase = phase] {
        save(2, kNewStep, kNew, [&](SaveRequest& request, int rank) {
          request.at_phase = [=](const char* reached) {
            if (rank == victim && std::string(reached) == phase)
              ::raise(SIGKILL);
          };
        });
      });
      ASSERT_TRUE(was_killed(status)) << phase;
      const std::string context = std::string(phase) + ", rank " + std::to_string(victim);
      EXPECT_EQ(newest_version(), expected) << context;
      expect_that_the_next_save_works(context);
    }
  }
}

// For every call that a save makes, on rank 0 and on rank 1, in a new step and in one that replaces
// the only checkpoint.
TEST_F(CheckpointFault, AKillAtEveryCallLeavesOldOrNew) {
  for (const int num_ranks : {1, 2}) {
    for (const int64_t step : {kNewStep, kOldStep}) {
      const int victim = num_ranks - 1;
      int num_killed = 0;
      for (int64_t killed_call = 0;; ++killed_call) {
        restore();
        const int status = in_child([&] {
          ScriptedFileOperations operations([&](const std::string&, int64_t call_idx) {
            if (call_idx == killed_call)
              ::raise(SIGKILL);
            return 0;
          });
          save(num_ranks, step, kNew, [&](SaveRequest& request, int rank) {
            if (rank == victim)
              request.operations = &operations;
          });
        });
        const std::string context =
            "call " + std::to_string(killed_call) + " of " + std::to_string(num_ranks) + " ranks";
        const int version = newest_version();
        EXPECT_TRUE(version == kOld || version == kNew) << context;
        if (!was_killed(status)) {
          EXPECT_EQ(status, 0) << context;
          EXPECT_EQ(version, kNew);
          break;
        }
        ++num_killed;
      }
      expect_that_the_next_save_works("after the last");
      EXPECT_GT(num_killed, victim == 0 ? 60 : 10);
    }
  }
}

TEST_F(CheckpointFault, AFailureOfEveryCallIsAnErrorOnEveryRankOrHarmless) {
  for (const int num_ranks : {1, 2}) {
    for (const int64_t step : {kNewStep, kOldStep}) {
      const int victim = num_ranks - 1;
      for (int64_t failing_call = 0;; ++failing_call) {
        restore();
        std::string failed;
        ScriptedFileOperations operations([&](const std::string& call, int64_t call_idx) {
          if (call_idx == failing_call)
            failed = call;
          return call_idx == failing_call ? EIO : 0;
        });
        const std::string message = try_save(num_ranks, step, [&](SaveRequest& request, int rank) {
          if (rank == victim)
            request.operations = &operations;
        });
        if (failed.empty())
          break;
        const std::string context = failed + ", call " + std::to_string(failing_call) + " of " +
                                    std::to_string(num_ranks) + " ranks: " + message;
        const int version = newest_version();
        EXPECT_TRUE(version == kOld || version == kNew) << context;
        if (message.empty()) {
          // Only clearing away may fail in silence.
          EXPECT_TRUE(failed == "remove_tree" || failed == "rename") << context;
          EXPECT_EQ(version, kNew) << context;
        } else {
          EXPECT_THAT(message, HasSubstr("Input/output error"));
          EXPECT_THAT(message, HasSubstr(checkpoints().string()));
        }
        // After the commit the replaced folder may stay until the next save.
        if (version == kOld) {
          EXPECT_FALSE(has_leftovers()) << context;
        }
        expect_that_the_next_save_works(context);
      }
    }
  }
}

TEST_F(CheckpointFault, AFailedExchangeInTwoStepsPutsTheOldOneBack) {
  int num_renames = 0;
  ScriptedFileOperations operations([&](const std::string& call, int64_t) {
    if (call == "exchange")
      return EINVAL;
    return call == "rename" && ++num_renames == 2 ? EIO : 0;
  });
  const std::string message =
      try_save(1, kOldStep, [&](SaveRequest& request, int) { request.operations = &operations; });
  EXPECT_THAT(message, HasSubstr("Input/output error"));
  EXPECT_EQ(newest_version(), kOld);
}

TEST_F(CheckpointFault, ErrorsNameTheCauseAndTheFile) {
  for (const auto& [error, text] : std::vector<std::pair<int, std::string>>{
           {ENOSPC, "No space left on device"}, {EDQUOT, "quota"}, {EROFS, "Read-only"}}) {
    ScriptedFileOperations operations(
        [error = error](const std::string& call, int64_t) { return call == "pwrite" ? error : 0; });
    const std::string message = try_save(3, kNewStep, [&](SaveRequest& request, int rank) {
      if (rank == 2)
        request.operations = &operations;
    });
    EXPECT_THAT(message, testing::AllOf(HasSubstr("rank 2: cannot write"), HasSubstr(text),
                                        HasSubstr("model-00001-of-00002.safetensors")));
    EXPECT_EQ(newest_version(), kOld);
    EXPECT_FALSE(has_leftovers());
  }
}

TEST_F(CheckpointFault, ShortWritesAndInterruptionsAreFinished) {
  class Stuttering : public trainer::FileOperations {
   public:
    ssize_t pwrite(int file, const void* data, size_t num_bytes, int64_t offset) override {
      if (++num_calls_ % 3 == 0) {
        errno = EINTR;
        return -1;
      }
      return FileOperations::pwrite(file, data, std::min<size_t>(num_bytes, 7), offset);
    }
    ssize_t pread(int file, void* data, size_t num_bytes, int64_t offset) override {
      if (++num_calls_ % 3 == 0) {
        errno = EINTR;
        return -1;
      }
      return FileOperations::pread(file, data, std::min<size_t>(num_bytes, 5), offset);
    }

   private:
    int num_calls_ = 0;
  } operations;
  EXPECT_EQ(
      try_save(1, kNewStep, [&](SaveRequest& request, int) { request.operations = &operations; }),
      "");
  EXPECT_EQ(newest_version(), kNew);
}

// debug.fault short_write: the device says yes and forgets. Only reading back can tell.
TEST_F(CheckpointFault, LostWritesAreFoundByReadingBack) {
  for (const char* phase : {"save.begin", "save.before_manifest"}) {
    trainer::FaultyFileOperations operations(trainer::FileFault::kLostWrite);
    const int victim = std::string(phase) == "save.begin" ? 1 : 0;
    const std::string message = try_save(2, kNewStep, [&](SaveRequest& request, int rank) {
      if (rank != victim)
        return;
      request.operations = &operations;
      request.at_phase = [&operations, phase](const char* reached) {
        if (std::string(reached) == phase)
          operations.arm();
      };
    });
    EXPECT_TRUE(operations.has_fired());
    if (victim == 1) {
      EXPECT_THAT(message, HasSubstr("does not hold what was written: model-0000"));
    } else {
      EXPECT_THAT(message, HasSubstr("manifest.json"));
    }
    EXPECT_EQ(newest_version(), kOld);
    EXPECT_FALSE(has_leftovers());
  }
}

// debug.fault enospc.
TEST_F(CheckpointFault, AFullDiskFromEachPhaseOn) {
  for (const char* phase : {"save.begin", "save.before_manifest"}) {
    trainer::FaultyFileOperations operations(trainer::FileFault::kNoSpace);
    const std::string message = try_save(2, kNewStep, [&](SaveRequest& request, int rank) {
      if (rank != 0)
        return;
      request.operations = &operations;
      request.at_phase = [&operations, phase](const char* reached) {
        if (std::string(reached) == phase)
          operations.arm();
      };
    });
    EXPECT_TRUE(operations.has_fired());
    EXPECT_THAT(message, HasSubstr("No space left on device"));
    EXPECT_EQ(newest_version(), kOld);
    EXPECT_FALSE(has_leftovers());
  }
}

// The real thing: the kernel refuses to let a file grow, at every size in steps of 64 bytes.
TEST_F(CheckpointFault, AFileSizeLimitIsAnErrorAndNotADeadlySignal) {
  bool has_fitted = false;
  for (rlim_t limit = 0; limit <= 4096; limit += 64) {
    restore();
    const int status = in_child([&] {
      const rlimit file_size{limit, limit};
      ::setrlimit(RLIMIT_FSIZE, &file_size);
      const std::string message = try_save(2, kNewStep, [](SaveRequest&, int) {});
      if (!message.empty() && message.find("File too large") == std::string::npos)
        ::_exit(2);
      if (!message.empty())
        ::_exit(has_leftovers() ? 3 : 74);
    });
    ASSERT_TRUE(WIFEXITED(status)) << "limit " << limit << ": signal " << WTERMSIG(status);
    const int code = WEXITSTATUS(status);
    EXPECT_TRUE(code == 0 || code == 74) << "limit " << limit << ": exit " << code;
    EXPECT_EQ(newest_version(), code == 0 ? kNew : kOld) << "limit " << limit;
    has_fitted = code == 0;
  }
  EXPECT_TRUE(has_fitted);
}

TEST_F(CheckpointFault, AFolderThatCannotBeMade) {
  write_bytes(root() / "file", "");
  for (const int num_ranks : {1, 2}) {
    const std::string message = try_save(num_ranks, kNewStep, [&](SaveRequest& request, int) {
      request.checkpoints = root() / "file" / "checkpoints";
    });
    EXPECT_THAT(message, HasSubstr("cannot create"));
  }
}

}  // namespace
}  // namespace moesaic::tests
