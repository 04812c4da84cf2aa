#include <gtest/gtest.h>

#include <climits>

#include "tests/kernels/cuda/emulation/atomic_kernels.h"
#include "tests/kernels/cuda/for_each_order.h"

MOESAIC_KERNEL_TEST(all_atomics)

namespace moesaic::tests {
namespace {

TEST(EmulationAtomics, SumsOfClosedForm) {
  for_each_order([] {
    constexpr int kThreads = 3 * 64;
    constexpr int kSum = kThreads * (kThreads - 1) / 2;
    AtomicResults results{};
    results.all_bits = ~0u;
    results.minimum = INT_MAX;
    results.maximum = INT_MIN;
    run_atomics(3, &results);
    EXPECT_EQ(results.sum, kSum);
    EXPECT_EQ(results.unsigned_sum, static_cast<unsigned>(kSum));
    EXPECT_EQ(results.long_sum, kSum * 0x100000000ull);
    EXPECT_EQ(results.float_sum, 0.5f * kThreads);
    EXPECT_EQ(results.double_sum, 0.25 * kThreads);
    EXPECT_EQ(results.difference, -kSum);
    EXPECT_EQ(results.minimum, -(kThreads - 1));
    EXPECT_EQ(results.maximum, kThreads - 1);
    EXPECT_EQ(results.long_maximum, (kThreads - 1) * 0x100000000ll);
    EXPECT_EQ(results.wrapped_up, static_cast<unsigned>(kThreads % 10));
    EXPECT_EQ(results.wrapped_down, static_cast<unsigned>((10 - kThreads % 10) % 10));
    EXPECT_EQ(results.all_bits, 0u);
    EXPECT_EQ(results.any_bit, 0xFFu);
    EXPECT_EQ(results.odd_bits, 0u) << "each bit is flipped 64 times";
    EXPECT_GE(results.num_claimed, 1u);
    EXPECT_LE(results.num_claimed, static_cast<unsigned>(kThreads));
    EXPECT_EQ(results.exchanged, 1000000 + kSum) << "one claim; each number is handed on once";
  });
}

}  // namespace
}  // namespace moesaic::tests
