#include "trainer/bench/bench_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace moesaic::trainer {
namespace {

using testing::HasSubstr;

BenchReport sample_report() {
  BenchReport report;
  report.product = {"matrix product 4", Bound::kCompute, {2e9, 1.0}, 0.0,
                    {0.01, 0.02},       {2e11, 1e11},    {1.0, 1.0}};
  report.copy = {"copy 1 MiB", Bound::kMemory, {0.0, 4e8}, 0.0,
                 {0.02, 0.04}, {2e10, 1e10},   {1.0, 1.0}};
  report.results = {
      {"layer", Bound::kCompute, {1e10, 5e6}, 4096.0, {0.1, 0.25}, {1e11, 4e10}, {0.5, 0.4}},
      {"permute_tokens", Bound::kMemory, {0.0, 1e9}, 0.0, {0.125, 0.25}, {8e9, 4e9}, {0.4, 0.4}}};
  return report;
}

BenchSubject sample_subject() {
  return {"operators", "cpu, 2 threads", "float32", {{"tokens", 8}, {"name", "tiny"}}, 12};
}

TEST(BenchReport, TheTableHasALineAResultWithBothFractions) {
  const auto text = bench_table(sample_subject(), sample_report());
  EXPECT_THAT(text, HasSubstr("bench operators: cpu, 2 threads, float32, 12 rounds\n"
                              "tokens 8, name tiny\n"));
  EXPECT_THAT(text, testing::ContainsRegex("matrix product 4 +10.000 +20.000 +200.0 +100.0 "
                                           "GFLOP/s *\n"));
  EXPECT_THAT(text, testing::ContainsRegex("layer +100.000 +250.000 +100.0 +40.0 GFLOP/s +50.0 % "
                                           "+40.0 % of product  40960 16384 tokens/s\n"));
  EXPECT_THAT(text, testing::ContainsRegex("permute_tokens +125.000 +250.000 +8.0 +4.0 GB/s +40.0 "
                                           "% +40.0 % of copy\n"));
}

TEST(BenchReport, JsonHoldsTheSameInSiUnits) {
  const auto json = nlohmann::json::parse(bench_json(sample_subject(), sample_report()));
  EXPECT_EQ(json["bench"], "operators");
  EXPECT_EQ(json["device"], "cpu, 2 threads");
  EXPECT_EQ(json["dtype"], "float32");
  EXPECT_EQ(json["rounds"], 12);
  EXPECT_EQ(json["sizes"]["tokens"], 8);
  ASSERT_EQ(json["yardsticks"].size(), 2);
  EXPECT_EQ(json["yardsticks"][0]["flops_per_second"]["best"], 2e11);
  EXPECT_EQ(json["yardsticks"][1]["bytes_per_second"]["median"], 1e10);
  ASSERT_EQ(json["results"].size(), 2);
  const auto& layer = json["results"][0];
  EXPECT_EQ(layer["name"], "layer");
  EXPECT_EQ(layer["bound"], "compute");
  EXPECT_EQ(layer["flops"], 1e10);
  EXPECT_EQ(layer["least_bytes"], 5e6);
  EXPECT_EQ(layer["seconds"]["median"], 0.25);
  EXPECT_EQ(layer["fraction_of_yardstick"]["best"], 0.5);
  EXPECT_EQ(layer["tokens_per_second"]["best"], 40960.0);
  EXPECT_FALSE(json["results"][1].contains("tokens_per_second"));
  EXPECT_EQ(json["results"][1]["bound"], "memory");
  EXPECT_EQ(json["results"][1]["bytes_per_second"]["best"], 8e9);
}

}  // namespace
}  // namespace moesaic::trainer
