#include "trainer/data/sample_order.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <stdexcept>
#include <vector>

namespace moesaic::trainer {
namespace {

std::vector<int64_t> epoch_of(const SampleOrder& order, int64_t epoch) {
  std::vector<int64_t> samples;
  for (int64_t i = 0; i < order.size(); ++i) {
    samples.push_back(order.sample(epoch, i));
  }
  return samples;
}

class SampleOrderSizeTest : public testing::TestWithParam<int64_t> {};

TEST_P(SampleOrderSizeTest, EveryEpochHasEverySampleOnce) {
  for (const uint64_t seed : {uint64_t{0}, uint64_t{1}, UINT64_MAX}) {
    const SampleOrder order(seed, GetParam());
    for (const int64_t epoch : {0, 1, 1000}) {
      std::vector<bool> seen(static_cast<size_t>(GetParam()), false);
      for (const int64_t sample : epoch_of(order, epoch)) {
        ASSERT_GE(sample, 0);
        ASSERT_LT(sample, GetParam());
        ASSERT_FALSE(seen[static_cast<size_t>(sample)]) << "twice: " << sample;
        seen[static_cast<size_t>(sample)] = true;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, SampleOrderSizeTest,
                         testing::Values(1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 63, 64, 65, 255, 256, 257,
                                         1000, 4096, 4097, 65535, 65536, 65537),
                         testing::PrintToStringParamName());

TEST(SampleOrderTest, ExtremeSizesStayInRange) {
  for (const int64_t size : {(int64_t{1} << 40) + 1, int64_t{1} << 62}) {
    const SampleOrder order(3, size);
    std::set<int64_t> samples;
    for (int64_t i = 0; i < 1000; ++i) {
      const int64_t sample = order.sample(0, i);
      ASSERT_GE(sample, 0);
      ASSERT_LT(sample, size);
      samples.insert(sample);
    }
    EXPECT_EQ(samples.size(), 1000u);
  }
  EXPECT_THROW(SampleOrder(0, 0), std::invalid_argument);
  EXPECT_THROW(SampleOrder(0, (int64_t{1} << 62) + 1), std::invalid_argument);
}

// A changed order would silently change every run that is resumed: these numbers must never change.
// They were computed by a second implementation, in Python.
TEST(SampleOrderTest, IsPinned) {
  EXPECT_THAT(epoch_of(SampleOrder(0, 10), 0), testing::ElementsAre(7, 0, 5, 4, 2, 3, 8, 9, 1, 6));
  EXPECT_THAT(epoch_of(SampleOrder(0, 10), 1), testing::ElementsAre(3, 6, 9, 0, 2, 7, 1, 8, 4, 5));
  EXPECT_THAT(epoch_of(SampleOrder(1, 10), 0), testing::ElementsAre(7, 9, 5, 6, 0, 2, 3, 4, 1, 8));
  EXPECT_EQ(SampleOrder(42, 1'000'003).sample(7, 123'456), 651671);
  EXPECT_EQ(SampleOrder(42, int64_t{1} << 62).sample(7, 123'456), 2043335248824017149);
}

TEST(SampleOrderTest, DependsOnSeedAndEpoch) {
  const auto base = epoch_of(SampleOrder(0, 1000), 0);
  for (const auto& other : {epoch_of(SampleOrder(1, 1000), 0), epoch_of(SampleOrder(0, 1000), 1)}) {
    int64_t equal = 0;
    for (size_t i = 0; i < base.size(); ++i) {
      equal += base[i] == other[i];
    }
    EXPECT_LT(equal, 10);  // one expected by chance
  }
}

TEST(SampleOrderTest, PositionsRunThroughTheEpochs) {
  const SampleOrder order(5, 7);
  for (int64_t position = 0; position < 30; ++position) {
    EXPECT_EQ(order.sample_at(position), order.sample(position / 7, position % 7));
  }
}

// Where the first sample of an epoch lies, and how far neighbours are apart, over many epochs:
// chi-square over 16 bins against the uniform distribution (15 degrees of freedom; 45 is p < 1e-4).
TEST(SampleOrderTest, IsAShuffle) {
  constexpr int64_t kSize = 1600;
  constexpr int64_t kEpochs = 1600;
  const SampleOrder order(11, kSize);
  std::vector<int64_t> first(16);
  std::vector<int64_t> distance(16);
  for (int64_t epoch = 0; epoch < kEpochs; ++epoch) {
    const int64_t a = order.sample(epoch, 0);
    const int64_t b = order.sample(epoch, 1);
    ++first[static_cast<size_t>(a / (kSize / 16))];
    ++distance[static_cast<size_t>((b - a + kSize) % kSize / (kSize / 16))];
  }
  for (const auto& bins : {first, distance}) {
    double chi_square = 0;
    for (const int64_t count : bins) {
      chi_square += std::pow(static_cast<double>(count) - kEpochs / 16, 2) / (kEpochs / 16);
    }
    EXPECT_LT(chi_square, 45);
    EXPECT_GT(chi_square, 2) << "suspiciously even";
  }
}

}  // namespace
}  // namespace moesaic::trainer
