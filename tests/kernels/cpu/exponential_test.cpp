#include "kernels/cpu/exponential.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace moesaic::kernels::cpu {
namespace {

TEST(Exponential, IsWithinTwoUlpOfTheTrueValue) {
  for (int64_t i = -1040000; i <= 887000; i += 7) {
    const float x = static_cast<float>(i) * 1e-4F;
    const double expected = std::exp(static_cast<double>(x));
    ASSERT_NEAR(exponential(x), expected, 2 * 1.2e-7 * expected + 3e-45) << x;
  }
}

TEST(Exponential, Ends) {
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(exponential(0.0F), 1.0F);
  EXPECT_EQ(exponential(-104.1F), 0.0F);
  EXPECT_EQ(exponential(-1e30F), 0.0F);
  EXPECT_EQ(exponential(-infinity), 0.0F);
  EXPECT_EQ(exponential(88.8F), infinity);
  EXPECT_EQ(exponential(1e30F), infinity);
  EXPECT_EQ(exponential(infinity), infinity);
  EXPECT_TRUE(std::isnan(exponential(std::numeric_limits<float>::quiet_NaN())));
}

}  // namespace
}  // namespace moesaic::kernels::cpu
