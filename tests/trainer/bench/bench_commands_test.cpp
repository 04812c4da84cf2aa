// moesaic bench as a user types it. No bound on a time: only that it is there.
#include "trainer/bench/bench_commands.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "tests/support/thread_count.h"
#include "tests/trainer/config/config_text.h"
#include "trainer/command_line.h"

namespace moesaic::trainer {
namespace {

using testing::HasSubstr;

using Words = std::vector<std::string>;

class BenchCommands : public testing::Test {
 protected:
  tests::ThreadCount restored_{1};  // the commands set the number of threads of the process
};

std::string output_of(const Words& words) {
  testing::internal::CaptureStdout();
  const int code = run_command_line(words);
  auto text = testing::internal::GetCapturedStdout();
  EXPECT_EQ(code, 0);
  return text;
}

Words with_small_sizes(Words words) {
  for (const auto* word : {"--tokens=16", "--hidden-size=8", "--experts=4", "--top-k=2",
                           "--intermediate-size=6", "--rounds=2", "--trainer.threads=1"}) {
    words.emplace_back(word);
  }
  return words;
}

TEST_F(BenchCommands, LayerPrintsOneLineWithFractions) {
  const auto text = output_of(with_small_sizes({"bench", "layer", "--dtype=float64"}));
  EXPECT_THAT(text, HasSubstr("bench layer: cpu, 1 thread, float64, 2 rounds\n"
                              "tokens 16, hidden_size 8, experts 4, top_k 2, "
                              "intermediate_size 6\n"));
  EXPECT_THAT(text, HasSubstr("layer forward+backward"));
  EXPECT_THAT(text, HasSubstr("% of product"));
}

TEST_F(BenchCommands, OperatorsAsJsonNameTheirSizesAndWork) {
  const auto json = nlohmann::json::parse(
      output_of(with_small_sizes({"bench", "operators", "--json", "--vocab-size=9"})));
  EXPECT_EQ(json["bench"], "operators");
  EXPECT_EQ(json["rounds"], 2);
  EXPECT_EQ(json["sizes"]["vocab_size"], 9);
  EXPECT_EQ(json["sizes"]["experts"], 4);
  EXPECT_EQ(json["results"].size(), 17);
  for (const auto& result : json["results"]) {
    EXPECT_GT(result["seconds"]["best"], 0.0);
    EXPECT_GE(result["seconds"]["median"], result["seconds"]["best"]);
    EXPECT_GT(result["fraction_of_yardstick"]["best"], 0.0);
  }
}

TEST_F(BenchCommands, StepMeasuresAConfigurationWithoutItsData) {
  TemporaryFile file(kValidConfig);  // its data are not there
  const auto json = nlohmann::json::parse(
      output_of({"bench", "step", file.path().string(), "--json", "--rounds=1",
                 "--trainer.threads=1", "--trainer.precision.parameter=float64"}));
  EXPECT_EQ(json["dtype"], "float64");
  EXPECT_EQ(json["sizes"]["name"], "tiny");
  EXPECT_EQ(json["sizes"]["global_batch_size"], 8);
  ASSERT_EQ(json["results"].size(), 1);
  const auto& step = json["results"][0];
  EXPECT_EQ(step["name"], "training step");
  EXPECT_NEAR(
      step["tokens_per_second"]["best"].get<double>() * step["seconds"]["best"].get<double>(),
      8 * 32, 1e-6);
}

TEST_F(BenchCommands, WrongUsageIsCode64) {
  const std::pair<Words, std::string> kCases[] = {
      {{"bench"}, "'moesaic bench' needs a command; see moesaic bench --help"},
      {{"bench", "layers"}, "unknown command 'layers'; did you mean 'layer'"},
      {{"bench", "step"}, "CONFIG is required"},
      {{"bench", "layer", "--tokens=0"}, "--tokens must be a whole number >= 1, is '0'"},
      {{"bench", "layer", "--rounds=x"}, "--rounds must be a whole number"},
      {{"bench", "layer", "--top-k=9", "--experts=8"}, "--top-k: 9 is more than --experts, 8"},
      {{"bench", "layer", "--dtype=float16"}, "--dtype must be one of"},
      {{"bench", "operators", "--tokens=1e15"}, "elements, at most"},
      {{"bench", "layer", "--hiden-size=8"}, "did you mean '--hidden-size'"},
  };
  for (const auto& [words, message] : kCases) {
    const auto failure = failure_of([&, &words = words] { run_command_line(words); });
    EXPECT_EQ(failure.code, ExitCode::kUsage) << testing::PrintToString(words);
    EXPECT_THAT(failure.message, HasSubstr(message)) << testing::PrintToString(words);
  }
}

TEST_F(BenchCommands, AWrongOverrideIsCode78AndAnAbsentFile66) {
  auto failure = failure_of([] { run_command_line({"bench", "layer", "--trainer.threads=0"}); });
  EXPECT_EQ(failure.code, ExitCode::kConfiguration);
  failure = failure_of([] { run_command_line({"bench", "layer", "--trainer.device=abacus"}); });
  EXPECT_EQ(failure.code, ExitCode::kConfiguration);
  EXPECT_THAT(failure.message, HasSubstr("trainer.device"));
  failure = failure_of([] { run_command_line({"bench", "layer", "--optimizer.lr=1"}); });
  EXPECT_EQ(failure.code, ExitCode::kConfiguration);
  EXPECT_THAT(failure.message, HasSubstr("which takes: trainer.device, trainer.threads"));
  TemporaryFile file(kValidConfig);
  failure = failure_of([&] {
    run_command_line({"bench", "step", file.path().string(), "--parallel.expert=2"});
  });
  EXPECT_EQ(failure.code, ExitCode::kConfiguration);
  failure = failure_of([] { run_command_line({"bench", "step", "/nonexistent/c.yaml"}); });
  EXPECT_EQ(failure.code, ExitCode::kNoInput);
}

TEST_F(BenchCommands, SeveralRanksAreRefused) {
  ASSERT_EQ(setenv("OMPI_COMM_WORLD_SIZE", "2", /*overwrite=*/1), 0);
  const auto failure = failure_of([] { run_command_line({"bench", "layer"}); });
  unsetenv("OMPI_COMM_WORLD_SIZE");
  EXPECT_EQ(failure.code, ExitCode::kUsage);
  EXPECT_THAT(failure.message, HasSubstr("one rank"));
}

}  // namespace
}  // namespace moesaic::trainer
