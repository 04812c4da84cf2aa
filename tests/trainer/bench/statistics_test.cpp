#include "trainer/bench/statistics.h"

#include <gtest/gtest.h>

#include <limits>
#include <stdexcept>

namespace moesaic::trainer {
namespace {

TEST(BenchStatistics, BestIsTheLeastAndMedianTheMiddle) {
  const auto odd = summarize({5.0, 1.0, 4.0});
  EXPECT_EQ(odd.best_s, 1.0);
  EXPECT_EQ(odd.median_s, 4.0);
  const auto even = summarize({8.0, 2.0, 6.0, 3.0});
  EXPECT_EQ(even.best_s, 2.0);
  EXPECT_EQ(even.median_s, 4.5);
  const auto single = summarize({0.25});
  EXPECT_EQ(single.best_s, 0.25);
  EXPECT_EQ(single.median_s, 0.25);
}

TEST(BenchStatistics, TimesThatCannotBeAreRefused) {
  EXPECT_THROW(summarize({}), std::invalid_argument);
  EXPECT_THROW(summarize({1.0, 0.0}), std::invalid_argument);
  EXPECT_THROW(summarize({1.0, -1.0}), std::invalid_argument);
  EXPECT_THROW(summarize({std::numeric_limits<double>::quiet_NaN(), 1.0}), std::invalid_argument);
  EXPECT_THROW(summarize({std::numeric_limits<double>::infinity()}), std::invalid_argument);
}

TEST(BenchStatistics, RatesAndFractionsPairBestWithBestAndMedianWithMedian) {
  const auto rate = rate_of(12.0, {.best_s = 2.0, .median_s = 3.0});
  EXPECT_EQ(rate.best, 6.0);
  EXPECT_EQ(rate.median, 4.0);
  const auto fraction = fraction_of(rate, {.best = 24.0, .median = 8.0});
  EXPECT_EQ(fraction.best, 0.25);
  EXPECT_EQ(fraction.median, 0.5);
}

}  // namespace
}  // namespace moesaic::trainer
