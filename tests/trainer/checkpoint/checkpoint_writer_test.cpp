#include "trainer/checkpoint/checkpoint_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/spawn_ranks.h"
#include "tests/trainer/checkpoint/checkpoint_fixture.h"
#include "trainer/exit_code.h"

namespace moesaic::tests {
namespace {

using parallel::Communicator;
using testing::ElementsAre;
using testing::HasSubstr;
using trainer::ExitCode;
using trainer::ExitError;
using trainer::SaveRequest;
using Split = TestState::Split;

class CheckpointWriter : public CheckpointFixture {
 protected:
  void save(int num_ranks, int64_t step, int version, Split split = Split::kByBytes,
            const std::function<void(SaveRequest&, int rank)>& adjust = {}) {
    spawn_ranks(num_ranks, [&](Communicator& communicator) {
      const auto saved =
          save_version(communicator, checkpoints(), step, version, split, [&](auto& request) {
            if (adjust)
              adjust(request, communicator.rank());
          });
      EXPECT_THAT(saved.warnings, testing::IsEmpty());
    });
  }

  int load(const std::string& name, int num_ranks = 1) {
    int version = -2;
    spawn_ranks(num_ranks, [&](Communicator& communicator) {
      const int mine = load_version(communicator, checkpoints() / name, {1, 2, 3});
      if (communicator.rank() == 0)
        version = mine;
    });
    return version;
  }

  std::vector<std::string> names(const std::filesystem::path& folder) {
    std::vector<std::string> result;
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
      result.push_back(entry.path().filename().string());
    }
    std::sort(result.begin(), result.end());
    return result;
  }

  // All ranks must fail alike; returns the message.
  std::string failure(int num_ranks, ExitCode code,
                      const std::function<void(SaveRequest&, int rank)>& adjust) {
    std::vector<std::string> messages(num_ranks);
    spawn_ranks(num_ranks, [&](Communicator& communicator) {
      const int rank = communicator.rank();
      try {
        save_version(communicator, checkpoints(), 7, 2, Split::kByBytes,
                     [&](auto& request) { adjust(request, rank); });
      } catch (const ExitError& error) {
        EXPECT_EQ(error.code(), code);
        messages[rank] = error.what();
      }
    });
    for (const auto& message : messages)
      EXPECT_EQ(message, messages[0]);
    return messages[0];
  }
};

TEST_F(CheckpointWriter, SavesAFolderThatLoads) {
  save(1, 100, 1);
  EXPECT_THAT(names(checkpoints()), ElementsAre("latest", "step-000100"));
  EXPECT_EQ(read_bytes(checkpoints() / "latest"), "step-000100\n");
  EXPECT_THAT(
      names(checkpoints() / "step-000100"),
      ElementsAre("config.json", "generation_config.json", "manifest.json",
                  "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
                  "model.safetensors.index.json", "optimizer-00001-of-00004.safetensors",
                  "optimizer-00002-of-00004.safetensors", "optimizer-00003-of-00004.safetensors",
                  "optimizer-00004-of-00004.safetensors", "tokenizer.json", "trainer.json"));
  EXPECT_EQ(load("step-000100"), 1);
  EXPECT_EQ(load("step-000100", 3), 1);
}

TEST_F(CheckpointWriter, EveryLayoutWritesTheSameBytes) {
  save(1, 1, 1, Split::kByTensor);
  const auto reference = checkpoints() / "step-000001";
  int64_t step = 1;
  for (const int num_ranks : {1, 2, 4}) {
    for (const auto split : {Split::kByTensor, Split::kByBytes}) {
      // The step is in the manifest and in trainer.json: write the same one somewhere else.
      const auto other = root() / ("other" + std::to_string(step++));
      spawn_ranks(num_ranks, [&](Communicator& communicator) {
        save_version(communicator, other, 1, 1, split);
      });
      ASSERT_EQ(names(other / "step-000001"), names(reference));
      for (const auto& name : names(reference)) {
        EXPECT_EQ(read_bytes(other / "step-000001" / name), read_bytes(reference / name))
            << name << " written by " << num_ranks << " ranks";
      }
    }
  }
}

TEST_F(CheckpointWriter, EveryByteNeedsExactlyOneOwner) {
  const auto drop = [](SaveRequest& request, int rank) {
    if (rank == 1)
      request.bytes.pop_back();
  };
  EXPECT_THAT(failure(2, ExitCode::kInternal, drop), HasSubstr("is owned by no rank"));
  const auto twice = [](SaveRequest& request, int rank) {
    if (rank == 1)
      request.bytes.push_back(request.bytes.back());
  };
  EXPECT_THAT(failure(2, ExitCode::kInternal, twice), HasSubstr("is owned twice"));
  const auto beyond = [](SaveRequest& request, int rank) {
    if (rank == 1)
      request.bytes.front().offset += 1;
  };
  EXPECT_THAT(failure(2, ExitCode::kInternal, beyond), HasSubstr("are not inside"));
  const auto unknown = [](SaveRequest& request, int rank) {
    if (rank == 1)
      request.bytes.front().name = "nobody";
  };
  EXPECT_THAT(failure(2, ExitCode::kInternal, unknown), HasSubstr("nobody is not planned"));
  const auto document = [](SaveRequest& request, int) {
    request.documents.push_back({"../evil", ""});
  };
  EXPECT_THAT(failure(2, ExitCode::kInternal, document), HasSubstr("../evil"));
  EXPECT_FALSE(std::filesystem::exists(checkpoints()));
}

TEST_F(CheckpointWriter, ReachesThePhasesInOrderOnEveryRank) {
  std::vector<std::vector<std::string>> phases(2);
  save(2, 5, 1, Split::kByBytes, [&](SaveRequest& request, int rank) {
    request.at_phase = [&phases, rank](const char* phase) { phases[rank].push_back(phase); };
  });
  const auto expected =
      ElementsAre("save.begin", "save.after_write", "save.before_manifest", "save.before_rename",
                  "save.after_rename", "save.before_latest");
  EXPECT_THAT(phases[0], expected);
  EXPECT_THAT(phases[1], expected);
}

TEST_F(CheckpointWriter, NoRankPassesAPhaseBeforeAllHaveReachedIt) {
  for (const char* phase :
       {"save.begin", "save.after_write", "save.before_manifest", "save.before_rename"}) {
    const auto refuse = [&](SaveRequest& request, int rank) {
      request.at_phase = [phase, rank](const char* reached) {
        if (rank == 1 && std::string(reached) == phase) {
          throw ExitError(ExitCode::kStorage, "not beyond " + std::string(phase));
        }
      };
    };
    EXPECT_EQ(failure(2, ExitCode::kStorage, refuse), "rank 1: not beyond " + std::string(phase));
    EXPECT_FALSE(std::filesystem::exists(checkpoints() / "step-000007")) << phase;
    if (std::filesystem::exists(checkpoints())) {
      EXPECT_THAT(names(checkpoints()), testing::IsEmpty()) << phase;
    }
  }
}

TEST_F(CheckpointWriter, KeepsTheLastAfterTheCommit) {
  const auto keep_two = [](SaveRequest& request, int) { request.keep_last = 2; };
  for (const int64_t step : {8, 9, 10, 100})
    save(2, step, 1, Split::kByBytes, keep_two);
  EXPECT_THAT(names(checkpoints()), ElementsAre("latest", "step-000010", "step-000100"));
  // A run that went back to step 9, having found 10 and 100 invalid, does not remove what it saves.
  const auto keep_one = [](SaveRequest& request, int) { request.keep_last = 1; };
  save(1, 9, 2, Split::kByBytes, keep_one);
  EXPECT_THAT(names(checkpoints()),
              ElementsAre("latest", "step-000009", "step-000010", "step-000100"));
  EXPECT_EQ(load("step-000009"), 2);
}

TEST_F(CheckpointWriter, RemovesWhatDeadRunsLeft) {
  std::filesystem::create_directories(checkpoints() / "step-000003.tmp-dead" / "inner");
  std::filesystem::create_directories(checkpoints() / ".trash-step-000002-dead");
  std::filesystem::create_directories(checkpoints() / "notes");
  write_bytes(checkpoints() / "latest.tmp-dead", "step-000003\n");
  save(1, 4, 1);
  EXPECT_THAT(names(checkpoints()), ElementsAre("latest", "notes", "step-000004"));
}

TEST_F(CheckpointWriter, ReplacesTheSameStep) {
  save(1, 5, 1);
  save(2, 5, 2);
  EXPECT_EQ(load("step-000005"), 2);
  EXPECT_THAT(names(checkpoints()), ElementsAre("latest", "step-000005"));
}

TEST_F(CheckpointWriter, ReplacesADamagedOneOfTheSameStep) {
  save(1, 5, 1);
  std::filesystem::remove(checkpoints() / "step-000005" / "manifest.json");
  save(1, 5, 2);
  EXPECT_EQ(load("step-000005"), 2);
}

TEST_F(CheckpointWriter, ReplacesWhereTheFileSystemCannotExchange) {
  save(1, 5, 1);
  ScriptedFileOperations operations(
      [](const std::string& call, int64_t) { return call == "exchange" ? EINVAL : 0; });
  save(1, 5, 2, Split::kByBytes,
       [&](SaveRequest& request, int) { request.operations = &operations; });
  EXPECT_EQ(load("step-000005"), 2);
  EXPECT_THAT(names(checkpoints()), ElementsAre("latest", "step-000005"));
}

// The second saver must not commit a folder that the first one has begun to clear away.
TEST_F(CheckpointWriter, OfTwoSaversOneWinsAndNothingIsMixed) {
  for (const char* phase : {"save.after_write", "save.before_rename", "save.after_rename"}) {
    for (const int64_t other_step : {7, 8}) {
      std::filesystem::remove_all(checkpoints());
      const auto intrude = [&](SaveRequest& request, int) {
        request.at_phase = [&](const char* reached) {
          if (std::string(reached) == phase)
            save(1, other_step, 3);
        };
      };
      const std::string message = failure(1, ExitCode::kStorage, intrude);
      EXPECT_EQ(message.empty(), std::string(phase) == "save.after_rename") << phase << message;
      EXPECT_EQ(load(trainer::step_folder_name(other_step)), 3) << phase << " " << other_step;
      const auto step_7 = checkpoints() / "step-000007";
      if (other_step == 8 && std::filesystem::exists(step_7)) {
        EXPECT_EQ(load("step-000007"), 2) << phase;
      }
    }
  }
}

}  // namespace
}  // namespace moesaic::tests
