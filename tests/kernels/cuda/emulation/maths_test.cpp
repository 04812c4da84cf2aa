#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "tests/kernels/cuda/emulation/maths_kernels.h"
#include "tests/kernels/cuda/for_each_order.h"

MOESAIC_KERNEL_TEST(bits)
MOESAIC_KERNEL_TEST(maths)
MOESAIC_KERNEL_TEST(half_maths)
MOESAIC_KERNEL_TEST(cache_hints)

namespace moesaic::tests {
namespace {

TEST(EmulationMaths, Bits) {
  BitResults results{};
  run_bits(0x00F05061, 0x0000A00000000000, &results);
  EXPECT_EQ(results.popc, 9);
  EXPECT_EQ(results.popcll, 2);
  EXPECT_EQ(results.clz, 8);
  EXPECT_EQ(results.clzll, 16);
  EXPECT_EQ(results.ffs, 1);
  EXPECT_EQ(results.ffsll, 46);
  EXPECT_EQ(results.brev, 0x860A0F00u);
  EXPECT_EQ(results.brevll, 0x0000000000050000ull);
  EXPECT_EQ(results.byte_perm, 0x55006611u) << "nibbles 5, 0, 6, 1 of the selector 0x5061";
  EXPECT_EQ(results.umulhi, 0u);
  EXPECT_EQ(results.funnel_left, 0xCD123400u);
  EXPECT_EQ(results.funnel_right, 0x3400F050u);
  EXPECT_EQ(results.from_int, 1.0f + 2.0f + 4.0f);
  EXPECT_EQ(results.from_float, 1);
}

TEST(EmulationMaths, BitsOfZeroAndOfAllOnes) {
  BitResults zero{};
  run_bits(0, 0, &zero);
  EXPECT_EQ(zero.clz, 32);
  EXPECT_EQ(zero.clzll, 64);
  EXPECT_EQ(zero.ffs, 0);
  EXPECT_EQ(zero.ffsll, 0);
  BitResults ones{};
  run_bits(0xFFFFFFFF, ~0ull, &ones);
  EXPECT_EQ(ones.mulhi, -1) << "-1 * 3 in 64 bits";
  EXPECT_EQ(ones.umulhi, 2u);
  EXPECT_EQ(ones.mul64hi, -1);
  EXPECT_EQ(ones.umul64hi, 4u);
}

TEST(EmulationMaths, Floats) {
  MathsResults results{};
  run_maths(4.0f, 2.5f, &results);
  EXPECT_EQ(results.min, 2.5f);
  EXPECT_EQ(results.max, 4.0f);
  EXPECT_EQ(results.rsqrt, 0.5f);
  EXPECT_NEAR(results.exp, std::exp(4.0), 1e-5);
  EXPECT_NEAR(results.log, std::log(4.0), 1e-6);
  EXPECT_EQ(results.divide, 1.6f);
  EXPECT_EQ(results.saturate, 1.0f);
  EXPECT_EQ(results.fma, 4.0f * 2.5f + (2.5f - (4.0f + 10.0f)));
  EXPECT_EQ(results.reciprocal, 0.25f);
  EXPECT_EQ(results.sqrt, 2.0f);
  EXPECT_EQ(results.int_to_float, 7.0f);
  EXPECT_EQ(results.min_of_double, 2.5);
  EXPECT_EQ(results.max_of_double, 4.0);
  EXPECT_EQ(results.rsqrt_of_double, 0.5);
  EXPECT_EQ(results.min_of_long, -5);
  EXPECT_EQ(results.max_of_long, 1ll << 40);
  EXPECT_EQ(results.nearest, 2) << "to even";
  EXPECT_EQ(results.toward_zero, -2);
  EXPECT_EQ(results.down, -3);
  EXPECT_EQ(results.up, 3);
}

// fmin and fmax of CUDA give the other number; conversions saturate.
TEST(EmulationMaths, NanAndInfinity) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  MathsResults results{};
  run_maths(1.0f, nan, &results);
  EXPECT_EQ(results.min, 1.0f);
  EXPECT_EQ(results.max, 1.0f);
  EXPECT_EQ(results.saturate, 0.0f);
  EXPECT_EQ(results.nearest, 0);
  run_maths(1.0f, std::numeric_limits<float>::infinity(), &results);
  EXPECT_EQ(results.nearest, std::numeric_limits<int>::max());
  EXPECT_EQ(results.toward_zero, std::numeric_limits<int>::min());
}

// One rounding: with two, the product's last bit is lost. All inputs are exact in either type.
TEST(EmulationMaths, HalfTypesAreFused) {
  HalfResults results{};
  const float a = 1.0f + 1.0f / 64;  // a * a = 1 + 1/32 + 1/4096
  run_half_maths(a, a, -1.0f - 1.0f / 32, &results);
  EXPECT_EQ(results.bfloat16_fma, 1.0f / 4096);
  EXPECT_EQ(results.half_fma, 1.0f / 4096);
  EXPECT_EQ(results.bfloat16_pair_fma, 1.0f / 4096);
  EXPECT_EQ(results.half_pair_fma, 1.0f / 4096);
}

TEST(EmulationMaths, CacheHintsCopy) {
  for_each_order([] {
    std::vector<float> in(100), out(100, -1);
    for (size_t i = 0; i < in.size(); ++i) {
      in[i] = static_cast<float>(i) * 0.5f;
    }
    run_cache_hints(100, in.data(), out.data());
    EXPECT_EQ(out, in);
  });
}

}  // namespace
}  // namespace moesaic::tests
