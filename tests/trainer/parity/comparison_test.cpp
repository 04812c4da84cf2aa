#include "trainer/parity/comparison.h"

#include <ATen/Functions.h>
#include <gtest/gtest.h>

#include <limits>

#include "tests/support/spawn_ranks.h"

namespace moesaic::trainer {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

Comparison make_comparison(const std::string& entry, double difference, double bound) {
  Comparison comparison{.quantity = "gradients"};
  comparison.include(entry, difference, bound);
  return comparison;
}

TEST(Comparison, UsesItsBoundUpToTheEnd) {
  EXPECT_DOUBLE_EQ(make_comparison("a", 0.5, 2.0).used(), 0.25);
  EXPECT_TRUE(make_comparison("a", 2.0, 2.0).ok());
  EXPECT_FALSE(make_comparison("a", 2.0001, 2.0).ok());
}

TEST(Comparison, ABoundOfZeroAsksForEquality) {
  EXPECT_TRUE(make_comparison("a", 0.0, 0.0).ok());
  EXPECT_FALSE(make_comparison("a", 1e-300, 0.0).ok());
}

TEST(Comparison, WhatIsNotFiniteIsInfinitelyFar) {
  for (const double bad : {kNaN, kInfinity, -kInfinity}) {
    EXPECT_EQ(make_comparison("a", bad, 1.0).used(), kInfinity);
    EXPECT_FALSE(make_comparison("a", bad, kInfinity).ok());
    // A bound that was computed from a broken reference allows nothing.
    EXPECT_FALSE(make_comparison("a", 1.0, bad).ok());
  }
}

TEST(Comparison, WithoutAReferenceThereIsNothingToFail) {
  EXPECT_TRUE(Comparison{.quantity = "z value"}.ok());
  EXPECT_FALSE(Comparison{.quantity = "z value"}.compared);
}

TEST(Comparison, KeepsTheEntryThatUsesMostOfItsOwnBound) {
  Comparison comparison{.quantity = "gradients", .of_tensors = true};
  comparison.include("equal", 0.0, 1.0);
  EXPECT_EQ(comparison.worst, "equal");  // the first one always counts
  comparison.include("small bound", 0.2, 0.1);
  comparison.include("larger difference", 0.5, 1.0);
  EXPECT_EQ(comparison.worst, "small bound");
  EXPECT_DOUBLE_EQ(comparison.used(), 2.0);
  comparison.include("nan", kNaN, 1.0);
  comparison.include("after it", 1e9, 1.0);
  EXPECT_EQ(comparison.worst, "nan");
  EXPECT_TRUE(comparison.of_tensors);
}

TEST(LargestDifference, OfTensors) {
  const auto x = at::tensor({1.0, -2.0, 3.0});
  EXPECT_DOUBLE_EQ(largest_difference(x, at::tensor({1.0, -2.5, 3.25})), 0.5);
  EXPECT_EQ(largest_difference(x, x), 0.0);
  EXPECT_EQ(largest_difference(at::zeros({0}), at::zeros({0})), 0.0);
}

TEST(LargestDifference, IsInfiniteForOtherShapesAndForWhatIsNotFinite) {
  const auto x = at::tensor({1.0, 2.0, 3.0});
  EXPECT_EQ(largest_difference(x, x.view({1, 3})), kInfinity);
  EXPECT_EQ(largest_difference(x, at::tensor({1.0, 2.0})), kInfinity);
  for (const double bad : {kNaN, kInfinity}) {
    const auto y = at::tensor({1.0, bad, 3.0});
    EXPECT_EQ(largest_difference(x, y), kInfinity);
    EXPECT_EQ(largest_difference(y, x), kInfinity);
    EXPECT_EQ(largest_difference(y, y), kInfinity);
  }
}

TEST(GatherTexts, InRankOrderWhateverTheirLengths) {
  tests::spawn_ranks(3, [](parallel::Communicator& world) {
    const std::vector<std::string> texts = {"", "one", "a longer text of rank two"};
    EXPECT_EQ(gather_texts(texts[world.rank()], world), texts);
    EXPECT_EQ(gather_texts("", world), std::vector<std::string>(3));
  });
}

// What each rank has found -> what all of them must report.
void expect_merged(const std::vector<Comparison>& of_rank, const Comparison& expected) {
  tests::spawn_ranks(static_cast<int>(of_rank.size()), [&](parallel::Communicator& world) {
    const auto merged =
        merge_over_ranks({Comparison{.quantity = "loss"}, of_rank[world.rank()]}, world);
    ASSERT_EQ(merged.size(), 2u);
    EXPECT_FALSE(merged[0].compared);
    EXPECT_EQ(merged[1].quantity, expected.quantity);
    EXPECT_EQ(merged[1].worst, expected.worst) << "on rank " << world.rank();
    EXPECT_EQ(merged[1].difference, expected.difference) << "on rank " << world.rank();
    EXPECT_EQ(merged[1].bound, expected.bound);
    EXPECT_EQ(merged[1].ok(), expected.ok());
    EXPECT_EQ(merged[1].compared, expected.compared);
  });
}

TEST(MergeOverRanks, TheWorstEntryOfAnyRankWinsOnAllRanks) {
  const auto mild = make_comparison("mild", 0.5, 1.0);
  const auto worst = make_comparison("worst", 0.3, 0.1);
  const Comparison nothing{.quantity = "gradients"};
  expect_merged({mild, worst, nothing}, worst);
  expect_merged({worst, nothing, mild}, worst);
  expect_merged({nothing, nothing, nothing}, nothing);
}

TEST(MergeOverRanks, OfEqualEntriesThatOfTheFirstRankWinsOnAllRanks) {
  const auto first = make_comparison("first", 0.0, 1.0);
  expect_merged({first, make_comparison("second", 0.0, 1.0)}, first);
}

TEST(MergeOverRanks, WhatIsNotFiniteFailsOnAllRanks) {
  for (const double bad : {kNaN, kInfinity}) {
    for (const double bound : {0.0, 1e-5, bad}) {
      tests::spawn_ranks(2, [&](parallel::Communicator& world) {
        const auto mine = world.rank() == 0 ? make_comparison("fine", 0.0, 1.0)
                                            : make_comparison("broken", bad, bound);
        const auto merged = merge_over_ranks({mine}, world);
        EXPECT_EQ(merged[0].worst, "broken");
        EXPECT_FALSE(merged[0].ok());
      });
    }
  }
}

}  // namespace
}  // namespace moesaic::trainer
