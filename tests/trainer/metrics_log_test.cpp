#include "trainer/metrics_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/trainer/data/dataset_files.h"

namespace moesaic::trainer {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::Not;

class MetricsLogTest : public testing::Test {
 protected:
  std::string path() const { return folder_.path("metrics.jsonl"); }
  MetricsLog open(int64_t resumed_step) const { return MetricsLog(folder_.path(""), resumed_step); }
  std::vector<json> lines() const {
    std::vector<json> result;
    std::istringstream in(read_bytes(path()));
    for (std::string line; std::getline(in, line);) {
      result.push_back(json::parse(line));
    }
    return result;
  }
  std::vector<int64_t> steps() const {
    std::vector<int64_t> result;
    for (const auto& line : lines()) {
      result.push_back(line.at("step"));
    }
    return result;
  }
  const TemporaryFolder folder_;
};

StepMetrics make_metrics() {
  StepMetrics metrics;
  metrics.loss = 3.25;
  metrics.auxiliary = {1.5, 0.25};
  metrics.grad_norm = 0.75;
  metrics.counts_LE = at::tensor(std::vector<int64_t>{3, 1, 0, 4}, at::kLong).view({2, 2});
  metrics.dropped_L = at::tensor(std::vector<int64_t>{0, 2}, at::kLong);
  return metrics;
}

LoggedStep make_step(int64_t step) {
  return {.step = step,
          .max_steps = 10,
          .num_tokens = 100 * step,
          .lr = 1e-3,
          .step_ms = 12.5,
          .tokens_per_second = 8000.0};
}

TEST_F(MetricsLogTest, AStepIsOneObjectWithItsNumbers) {
  open(0).write_step(make_step(3), make_metrics());
  ASSERT_EQ(lines().size(), 1u);
  const auto line = lines()[0];
  EXPECT_EQ(line.at("step"), 3);
  EXPECT_EQ(line.at("loss"), 3.25);
  EXPECT_EQ(line.at("load_balance_loss"), 1.5);
  EXPECT_EQ(line.at("router_z_loss"), 0.25);
  EXPECT_EQ(line.at("grad_norm"), 0.75);
  EXPECT_EQ(line.at("lr"), 1e-3);
  EXPECT_EQ(line.at("tokens"), 300);
  EXPECT_EQ(line.at("skipped"), false);
  EXPECT_EQ(line.at("drop_fraction"), 0.25);
  EXPECT_EQ(line.at("dead_experts"), 1);
  EXPECT_EQ(line.at("layers").at(0).at("tokens_per_expert"), json({3, 1}));
  EXPECT_EQ(line.at("layers").at(1).at("tokens_per_expert"), json({0, 4}));
  EXPECT_EQ(line.at("layers").at(1).at("max_violation"), 1.0);
  EXPECT_EQ(line.at("layers").at(1).at("dropped"), 2);
}

TEST_F(MetricsLogTest, WhatIsNotFiniteIsAWord) {
  auto metrics = make_metrics();
  metrics.loss = std::numeric_limits<double>::quiet_NaN();
  metrics.grad_norm = std::numeric_limits<double>::infinity();
  metrics.auxiliary.router_z = -std::numeric_limits<double>::infinity();
  metrics.skipped = true;
  auto log = open(0);
  log.write_step(make_step(1), metrics);
  log.write_validation(1, std::numeric_limits<double>::quiet_NaN(), 7);
  const auto written = lines();
  EXPECT_EQ(written.at(0).at("loss"), "nan");
  EXPECT_EQ(written.at(0).at("grad_norm"), "inf");
  EXPECT_EQ(written.at(0).at("router_z_loss"), "-inf");
  EXPECT_EQ(written.at(0).at("skipped"), true);
  EXPECT_EQ(written.at(1).at("validation_loss"), "nan");
  EXPECT_EQ(written.at(1).at("validation_targets"), 7);
}

TEST_F(MetricsLogTest, AResumedRunForgetsTheStepsAfterItsCheckpoint) {
  {
    auto log = open(0);
    for (int64_t step = 1; step <= 5; ++step) {
      log.write_step(make_step(step), make_metrics());
    }
    log.write_validation(5, 3.0, 7);
  }
  open(3).write_step(make_step(4), make_metrics());
  EXPECT_EQ(steps(), (std::vector<int64_t>{1, 2, 3, 4}));
  open(0);  // a run that starts anew in the same folder
  EXPECT_TRUE(steps().empty());
}

TEST_F(MetricsLogTest, ATornLastLineGoesAndAWholeOneWithoutItsEndStays) {
  const std::string whole = R"({"step":1,"loss":2.0})";
  write_bytes(path(), whole + "\n" + R"({"step":2,"lo)");
  open(9).write_step(make_step(3), make_metrics());
  EXPECT_EQ(steps(), (std::vector<int64_t>{1, 3}));
  write_bytes(path(), whole);
  open(9).write_step(make_step(2), make_metrics());
  EXPECT_EQ(steps(), (std::vector<int64_t>{1, 2}));
}

TEST_F(MetricsLogTest, LinesThatAreNoMetricsAreDropped) {
  write_bytes(path(), "[1]\n\n17\n{\"step\":\"two\"}\n{\"step\":1}\n");
  open(9);
  EXPECT_EQ(steps(), std::vector<int64_t>{1});
}

TEST_F(MetricsLogTest, AFolderThatCannotBeWrittenIsAStorageError) {
  expect_exit_error([&] { MetricsLog(folder_.path("not/there"), 0); }, ExitCode::kStorage,
                    "metrics.jsonl");
}

// A run must not lose its history because the shortened copy could not be written.
TEST_F(MetricsLogTest, TheOldLinesStayWhenTheirCopyCannotBeWritten) {
  open(0).write_step(make_step(1), make_metrics());
  const auto before = read_bytes(path());
  std::filesystem::create_directory(path() + ".tmp");
  expect_exit_error([&] { open(9); }, ExitCode::kStorage, "metrics.jsonl");
  EXPECT_EQ(read_bytes(path()), before);
}

TEST(ConsoleLine, SaysWhatAPersonWatches) {
  auto metrics = make_metrics();
  auto line = console_line(make_step(3), metrics);
  for (const char* part :
       {"step 3/10", "loss 3.2500", "balance 1.500 z 0.25", "norm 0.750", "lr 1.00e-03",
        "max load +100% (layer 1)", "drop 25.0%", "dead 1", "8000 tokens/s", "eta 0s"}) {
    EXPECT_THAT(line, HasSubstr(part));
  }
  EXPECT_THAT(line, Not(HasSubstr("SKIPPED")));
  metrics.skipped = true;
  auto step = make_step(3);
  step.step_ms = 1e6;  // 7 steps of 1000 s
  EXPECT_THAT(console_line(step, metrics), HasSubstr("eta 1h56m | SKIPPED"));
}

}  // namespace
}  // namespace moesaic::trainer
