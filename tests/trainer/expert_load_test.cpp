#include "trainer/expert_load.h"

#include <ATen/Functions.h>
#include <gtest/gtest.h>

#include <cmath>

namespace moesaic::trainer {
namespace {

at::Tensor counts(const std::vector<int64_t>& values, int64_t num_layers) {
  return at::tensor(values, at::kLong).view({num_layers, -1});
}

TEST(ExpertLoad, BalancedLayersHaveNoViolationAndFullEntropy) {
  const auto load =
      summarize_expert_load(counts({8, 8, 8, 8}, 1), at::tensor(std::vector<int64_t>{0}));
  EXPECT_EQ(load.max_violation_L, std::vector<double>{0.0});
  EXPECT_DOUBLE_EQ(load.entropy_L[0], std::log(4.0));
  EXPECT_EQ(load.num_dead, 0);
  EXPECT_EQ(load.drop_fraction, 0.0);
}

TEST(ExpertLoad, NamesTheWorstLayerAndTheDeadExperts) {
  // Means 100 and 100; below 1 is dead: 0 is, 1 is not.
  const auto load = summarize_expert_load(counts({150, 149, 1, 100, 200, 200, 0, 0}, 2),
                                          at::tensor(std::vector<int64_t>{10, 30}));
  EXPECT_DOUBLE_EQ(load.max_violation_L[0], 0.5);
  EXPECT_DOUBLE_EQ(load.max_violation_L[1], 1.0);
  EXPECT_EQ(load.worst_layer, 1);
  EXPECT_DOUBLE_EQ(load.entropy_L[1], std::log(2.0));
  EXPECT_EQ(load.num_dead, 2);
  EXPECT_EQ(load.dropped_L, (std::vector<int64_t>{10, 30}));
  EXPECT_DOUBLE_EQ(load.drop_fraction, 40.0 / 800.0);
}

TEST(ExpertLoad, OneExpertWithEverythingHasNoEntropy) {
  const auto load =
      summarize_expert_load(counts({0, 12, 0}, 1), at::tensor(std::vector<int64_t>{0}));
  EXPECT_DOUBLE_EQ(load.max_violation_L[0], 2.0);
  EXPECT_EQ(load.entropy_L[0], 0.0);
}

TEST(ExpertLoad, NoChoicesAreNoDivisionByZero) {
  const auto load = summarize_expert_load(counts({0, 0}, 1), at::tensor(std::vector<int64_t>{0}));
  EXPECT_EQ(load.max_violation_L[0], 0.0);
  EXPECT_EQ(load.entropy_L[0], 0.0);
  EXPECT_EQ(load.drop_fraction, 0.0);
}

}  // namespace
}  // namespace moesaic::trainer
