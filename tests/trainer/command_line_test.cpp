#include "trainer/command_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/trainer/config/config_text.h"

namespace moesaic::trainer {
namespace {

using testing::HasSubstr;

using Words = std::vector<std::string>;

struct Output {
  int code;
  std::string text;
};

Output output_of(const Words& words) {
  testing::internal::CaptureStdout();
  int code = run_command_line(words);
  return {code, testing::internal::GetCapturedStdout()};
}

TEST(CommandLine, EveryVerbHasAHelpOfAtMostSixtyLines) {
  const Words kVerbs[] = {{},
                          {"train"},
                          {"parity"},
                          {"eval"},
                          {"generate"},
                          {"data"},
                          {"data", "prepare"},
                          {"data", "info"},
                          {"checkpoint"},
                          {"checkpoint", "list"},
                          {"checkpoint", "info"},
                          {"checkpoint", "check"},
                          {"config"},
                          {"bench"},
                          {"bench", "operators"},
                          {"bench", "layer"},
                          {"bench", "step"}};
  for (auto words : kVerbs) {
    words.push_back("--help");
    auto output = output_of(words);
    EXPECT_EQ(output.code, 0);
    EXPECT_THAT(output.text, HasSubstr("Usage: moesaic"));
    EXPECT_LE(std::count(output.text.begin(), output.text.end(), '\n'), 60);
    auto name = words.size() > 1 ? words[words.size() - 2] : "train";
    EXPECT_THAT(output.text, HasSubstr(name));
  }
}

TEST(CommandLine, VersionNamesTheLibraries) {
  auto output = output_of({"--version"});
  EXPECT_EQ(output.code, 0);
  for (const char* part : {"moesaic ", "(git ", "LibTorch 2.", "MPI: "}) {
    EXPECT_THAT(output.text, HasSubstr(part));
  }
}

TEST(CommandLine, WrongUsageIsNamedWithASuggestion) {
  const std::pair<Words, std::string> kCases[] = {
      {{}, "a command is missing"},
      {{"trian", "c.yaml"}, "unknown command 'trian'; did you mean 'train'; see moesaic --help"},
      {{"qqqqqq"}, "unknown command 'qqqqqq'; see moesaic --help"},
      {{"data"}, "'moesaic data' needs a command; see moesaic data --help"},
      {{"data", "prepre"}, "unknown command 'prepre'; did you mean 'prepare'"},
      {{"checkpoint", "inf"}, "did you mean 'info'"},
      {{"train"}, "CONFIG is required; see moesaic train --help"},
      {{"train", "a.yaml", "b.yaml"}, "unexpected argument 'b.yaml'"},
      {{"train", "a.yaml", "--dryrun"}, "unknown option '--dryrun'; did you mean '--dry-run'"},
      {{"train", "a.yaml", "--dry_run=true"}, "did you mean '--dry-run'"},
      {{"train", "a.yaml", "--moe.capacity.factor", "1"},
       "overrides are written --moe.capacity.factor=value"},
      {{"train", "a.yaml", "-x"}, "unknown option '-x'"},
      {{"train", "a.yaml", "--=1"}, "unknown option '--=1'"},
      {{"eval", "dir"}, "--data is required"},
      {{"generate", "dir", "--top-k", "010"}, "--top-k must be a whole number >= 1, is '010'"},
      {{"generate", "dir", "--top-k=0"}, "--top-k must be a whole number >= 1, is '0'"},
      {{"generate", "dir", "--temperature=-1"}, "--temperature must be a number >= 0, is '-1'"},
      {{"generate", "dir", "--temperature=nan"}, "--temperature must be a number"},
      {{"generate", "dir", "--seed", "1", "--seed", "2"}, "--seed"},
      {{"data", "info", "p", "--moe.capacity.factor=1"}, "unknown option"},
      {{"config"}, "config needs a file"},
      {{"config", "c.yaml", "--dcos"}, "did you mean '--docs'"},
  };
  for (const auto& [words, message] : kCases) {
    auto failure = failure_of([&] { run_command_line(words); });
    auto shown = testing::PrintToString(words);
    EXPECT_EQ(failure.code, ExitCode::kUsage) << shown;
    EXPECT_THAT(failure.message, HasSubstr(message)) << shown;
  }
}

TEST(CommandLine, ConfigPrintsTheResolvedFile) {
  TemporaryFile file(kValidConfig);
  auto output = output_of({"config", file.path().string(), "--moe.capacity.factor=2"});
  EXPECT_EQ(output.code, 0);
  EXPECT_THAT(output.text, HasSubstr("    factor: 2.0\n"));
  EXPECT_THAT(output.text, HasSubstr("  run_dir: runs/tiny\n"));
}

TEST(CommandLine, ConfigDocsListsEveryKey) {
  auto output = output_of({"config", "--docs"});
  EXPECT_EQ(output.code, 0);
  EXPECT_THAT(output.text, HasSubstr("moe.capacity.factor\n"));
}

TEST(CommandLine, ABadConfigurationIsCode78) {
  TemporaryFile file(edited("hidden_size: 32", "hidden_size: x"));
  auto failure = failure_of([&] { run_command_line({"config", file.path().string()}); });
  EXPECT_EQ(failure.code, ExitCode::kConfiguration);
  EXPECT_THAT(failure.message, HasSubstr(":4:16: model.hidden_size"));
}

}  // namespace
}  // namespace moesaic::trainer
