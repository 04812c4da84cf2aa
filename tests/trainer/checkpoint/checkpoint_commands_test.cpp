#include "trainer/checkpoint/checkpoint_commands.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/spawn_ranks.h"
#include "tests/trainer/checkpoint/checkpoint_fixture.h"
#include "trainer/exit_code.h"

namespace moesaic::tests {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using trainer::ExitCode;
using trainer::ExitError;
using Command = int (*)(const std::filesystem::path&);

class CheckpointCommands : public CheckpointFixture {
 protected:
  void SetUp() override {
    CheckpointFixture::SetUp();
    spawn_ranks(1, [&](parallel::Communicator& communicator) {
      save_version(communicator, checkpoints(), 10, 1);
      hash_ = save_version(communicator, checkpoints(), 20, 2).tensors.hex();
    });
  }

  struct Outcome {
    ExitCode code;
    std::string text;  ///< stdout, or the error
  };

  Outcome run(Command command, const std::filesystem::path& path) {
    testing::internal::CaptureStdout();
    try {
      const int code = command(path);
      std::fflush(stdout);
      return {static_cast<ExitCode>(code), testing::internal::GetCapturedStdout()};
    } catch (const ExitError& error) {
      testing::internal::GetCapturedStdout();
      return {error.code(), error.what()};
    }
  }

  std::filesystem::path newest() { return checkpoints() / "step-000020"; }
  std::string hash_;
};

TEST_F(CheckpointCommands, ListsARunOrItsFolder) {
  for (const auto& path : {root(), checkpoints()}) {
    const auto [code, text] = run(trainer::checkpoint_list_command, path);
    EXPECT_EQ(code, ExitCode::kDone);
    EXPECT_THAT(text, testing::ContainsRegex("10 +640 .* valid\n"));
    EXPECT_THAT(text, testing::ContainsRegex("20 +1280 +[0-9]+ +" + hash_ + " +valid\n"));
  }
  write_bytes(newest() / "tokenizer.json", "changed");
  EXPECT_THAT(run(trainer::checkpoint_list_command, root()).text,
              AllOf(HasSubstr("INVALID: "), HasSubstr("tokenizer.json has 7 bytes")));
}

TEST_F(CheckpointCommands, InfoPrintsTheHashOfTheTensors) {
  const auto [code, text] = run(trainer::checkpoint_info_command, newest());
  EXPECT_EQ(code, ExitCode::kDone);
  EXPECT_THAT(text, AllOf(HasSubstr("\nhash: " + hash_ + "\n"), HasSubstr("\nstep: 20\n"),
                          HasSubstr("\ntokens: 1280\n"), HasSubstr("\ntensors: 20\n"),
                          HasSubstr("\nparameters: 157\n"), HasSubstr("\nfiles: 6\n")));
  EXPECT_THAT(run(trainer::checkpoint_info_command, checkpoints() / "step-000010").text,
              Not(HasSubstr(hash_)));
}

TEST_F(CheckpointCommands, InfoTakesAHubFolderAndOneFile) {
  const std::filesystem::path golden = MOESAIC_GOLDEN_DIR "/olmoe";
  const auto folder = run(trainer::checkpoint_info_command, golden);
  const auto file = run(trainer::checkpoint_info_command, golden / "model.safetensors");
  EXPECT_EQ(folder.code, ExitCode::kDone);
  EXPECT_EQ(file.code, ExitCode::kDone);
  const auto hash_line = folder.text.substr(folder.text.find("\nhash: "));
  EXPECT_THAT(file.text, HasSubstr(hash_line));
  EXPECT_EQ(hash_line.size(), std::string("\nhash: \n").size() + 32);
}

TEST_F(CheckpointCommands, CheckNamesWhatIsWrong) {
  EXPECT_EQ(run(trainer::checkpoint_check_command, newest()).code, ExitCode::kDone);
  EXPECT_EQ(run(trainer::checkpoint_check_command, newest() / "").code, ExitCode::kDone);
  EXPECT_EQ(run(trainer::checkpoint_check_command, root()).code, ExitCode::kDone);
  const auto path = newest() / "optimizer-00002-of-00004.safetensors";
  std::string bytes = read_bytes(path);
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  write_bytes(path, bytes);
  for (const auto& target : {newest(), root()}) {
    const auto outcome = run(trainer::checkpoint_check_command, target);
    EXPECT_EQ(outcome.code, ExitCode::kStorage);
    EXPECT_THAT(outcome.text, AllOf(HasSubstr(path.string()), HasSubstr("xxh3-128")));
  }
}

TEST_F(CheckpointCommands, ABadFileIs65AndAnAbsentOne66) {
  const auto path = root() / "bad.safetensors";
  write_bytes(path, "short");
  for (const Command command :
       {trainer::checkpoint_info_command, trainer::checkpoint_check_command}) {
    const auto bad = run(command, path);
    EXPECT_EQ(bad.code, ExitCode::kBadFile);
    EXPECT_THAT(bad.text, AllOf(HasSubstr(path.string()), HasSubstr("8 are the least")));
    EXPECT_EQ(run(command, root() / "absent").code, ExitCode::kNoInput);
    std::filesystem::create_directories(root() / "empty");
    EXPECT_EQ(run(command, root() / "empty").code, ExitCode::kNoInput);
  }
  EXPECT_EQ(run(trainer::checkpoint_list_command, root() / "absent").code, ExitCode::kNoInput);
  EXPECT_EQ(run(trainer::checkpoint_list_command, root() / "empty").code, ExitCode::kNoInput);
  EXPECT_EQ(run(trainer::checkpoint_info_command, root()).code, ExitCode::kUsage);
}

}  // namespace
}  // namespace moesaic::tests
