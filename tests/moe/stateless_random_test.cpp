#include "moe/stateless_random.h"

#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include <set>

#include "tests/support/tensor_check.h"
#include "tests/support/thread_count.h"

namespace moesaic::moe {
namespace {

using tests::all_equal;

at::Tensor truncated_normal(int64_t numel, uint64_t key, double standard_deviation = 1.0,
                            at::ScalarType dtype = at::kDouble) {
  auto x = at::empty({numel}, dtype);
  fill_truncated_normal(x, standard_deviation, key);
  return x;
}

// From a second implementation, whose SplitMix64 gives the published 0xE220A8397B1DCDAF for 0.
// Whoever changes these numbers changes the initial weights of every run.
TEST(StatelessRandom, PinnedValues) {
  const uint64_t key = stream_key(42, "initialize", "model.norm.weight");
  EXPECT_EQ(key, 0x86db50acd37318bfULL);
  EXPECT_EQ(stream_key(42, "initialize", "model.norm.weight", 7), 0x7301971f15cd8c7ULL);
  EXPECT_EQ(random_bits(key, 0), 0xf7c498617a59d111ULL);
  EXPECT_EQ(random_bits(key, 1), 0x79bf89d96cd63110ULL);
  EXPECT_EQ(random_bits(key, uint64_t{1} << 40), 0xf6c0d25c7162b29aULL);
  EXPECT_EQ(random_uniform(key, 0), 0.9678435552581057);
  EXPECT_EQ(random_uniform(key, 1), 0.47557889517050783);

  const auto x = truncated_normal(1831, key);
  EXPECT_NEAR(x[0].item<double>(), -0.02878674851061354, 1e-15);
  EXPECT_NEAR(x[1].item<double>(), -1.3528410658707088, 1e-15);
  // Its first draw lies outside of three standard deviations: this is the second one.
  EXPECT_NEAR(x[1830].item<double>(), -1.182400599194266, 1e-15);
}

TEST(StatelessRandom, EveryPartOfTheKeyCounts) {
  const std::set<uint64_t> keys = {stream_key(1, "a", "b", 0),  stream_key(2, "a", "b", 0),
                                   stream_key(1, "b", "a", 0),  stream_key(1, "a", "c", 0),
                                   stream_key(1, "ab", "", 0),  stream_key(1, "", "ab", 0),
                                   stream_key(1, "a", "b", 1),  stream_key(1, "a", "b", 2),
                                   stream_key(1, "ab", "b", 0), stream_key(0, "", "", 0)};
  EXPECT_EQ(keys.size(), 10u);
}

TEST(StatelessRandom, UniformDrawsAreUniformAndUncorrelated) {
  constexpr int64_t kNum = 100000;
  auto x = at::empty({kNum}, at::kDouble);
  for (int64_t i = 0; i < kNum; ++i) {
    x.mutable_data_ptr<double>()[i] = random_uniform(stream_key(3, "test", "uniform"), i);
  }
  EXPECT_GT(x.min().item<double>(), 0.0);
  EXPECT_LT(x.max().item<double>(), 1.0);
  // Chi-square over 64 bins: 63 degrees of freedom, standard deviation 11.2.
  const double expected = kNum / 64.0;
  const auto counts = at::histc(x, 64, 0, 1);
  EXPECT_LT(counts.sub(expected).square().sum().item<double>() / expected, 63 + 5 * 11.2);
  // Neighbours: the mean of n products has standard deviation 1 / (12 sqrt(n)).
  const auto centred = x.sub(0.5);
  const double covariance =
      (centred.narrow(0, 0, kNum - 1) * centred.narrow(0, 1, kNum - 1)).mean().item<double>();
  EXPECT_LT(std::abs(covariance), 5.0 / 12.0 / std::sqrt(static_cast<double>(kNum)));
}

TEST(StatelessRandom, TruncatedNormalHasItsMomentsAndItsCut) {
  constexpr int64_t kNum = 200000;
  constexpr double kDeviation = 0.02;
  const auto x = truncated_normal(kNum, stream_key(7, "test", "normal"), kDeviation);
  // Variance of a normal cut at +-3: 1 - 6 phi(3) / (2 Phi(3) - 1).
  constexpr double kVariance = 0.9733369246625415;
  const double root_n = std::sqrt(static_cast<double>(kNum));
  EXPECT_LT(std::abs(x.mean().item<double>()), 5 * kDeviation / root_n);
  EXPECT_NEAR(x.square().mean().item<double>() / (kDeviation * kDeviation), kVariance,
              5 * 1.4 / root_n);
  EXPECT_LE(x.abs().max().item<double>(), 3 * kDeviation);
  EXPECT_GT(x.max().item<double>(), 2.9 * kDeviation);
  EXPECT_LT(x.min().item<double>(), -2.9 * kDeviation);
}

TEST(StatelessRandom, ElementsDependOnTheirIndexAlone) {
  const uint64_t key = stream_key(5, "test", "partition");
  constexpr int64_t kNum = 20001;  // above the grain of the parallel loop
  at::Tensor with_one_thread;
  at::Tensor with_four_threads;
  {
    const tests::ThreadCount one(1);
    with_one_thread = truncated_normal(kNum, key);
  }
  {
    const tests::ThreadCount four(4);
    with_four_threads = truncated_normal(kNum, key);
  }
  EXPECT_TRUE(all_equal(with_four_threads, with_one_thread));
  EXPECT_TRUE(all_equal(truncated_normal(100, key), with_one_thread.narrow(0, 0, 100)));
  EXPECT_TRUE(all_equal(truncated_normal(100, key, 1.0, at::kFloat),
                        with_one_thread.narrow(0, 0, 100).to(at::kFloat)));
}

TEST(StatelessRandom, ATensorWithHolesIsRefused) {
  EXPECT_THROW(fill_truncated_normal(at::zeros({4, 3}).t(), 1.0, 1), c10::Error);
}

}  // namespace
}  // namespace moesaic::moe
