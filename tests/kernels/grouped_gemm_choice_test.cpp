#include "kernels/grouped_gemm_choice.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace moesaic::kernels {
namespace {

using testing::HasSubstr;

constexpr GroupedGemmPlace kCpu{.gpu_generation = 0, .dtype = at::kFloat};
constexpr GroupedGemmPlace kHopper{.gpu_generation = 9, .dtype = at::kBFloat16};

TEST(GroupedGemmChoice, OnTheCpuOnlyAuto) {
  EXPECT_EQ(why_not(GroupedGemmKind::kAuto, kCpu), "");
  EXPECT_THAT(why_not(GroupedGemmKind::kCublas, kCpu), HasSubstr("on the CPU"));
  EXPECT_THAT(why_not(GroupedGemmKind::kGroupedMm, kCpu), HasSubstr("on the CPU"));
}

TEST(GroupedGemmChoice, GroupedMmNeedsBfloat16OnHopperOrBlackwell) {
  for (const int generation : {8, 9, 10, 12}) {
    for (const auto dtype : {at::kFloat, at::kDouble, at::kHalf, at::kBFloat16}) {
      const GroupedGemmPlace place{.gpu_generation = generation, .dtype = dtype};
      const bool is_fast = dtype == at::kBFloat16 && (generation == 9 || generation == 10);
      EXPECT_EQ(why_not(GroupedGemmKind::kGroupedMm, place).empty(), is_fast);
      EXPECT_EQ(why_not(GroupedGemmKind::kAuto, place), "");
      EXPECT_EQ(why_not(GroupedGemmKind::kCublas, place), "");
      EXPECT_EQ(takes_grouped_mm(GroupedGemmKind::kAuto, place), is_fast);
      EXPECT_FALSE(takes_grouped_mm(GroupedGemmKind::kCublas, place));
    }
  }
  EXPECT_TRUE(takes_grouped_mm(GroupedGemmKind::kGroupedMm, kHopper));
  EXPECT_THAT(why_not(GroupedGemmKind::kGroupedMm, {.gpu_generation = 9, .dtype = at::kFloat}),
              HasSubstr("Float"));
}

TEST(GroupedGemmChoice, IsKept) {
  EXPECT_EQ(chosen_grouped_gemm(), GroupedGemmKind::kAuto);
  set_grouped_gemm(GroupedGemmKind::kCublas);
  EXPECT_EQ(chosen_grouped_gemm(), GroupedGemmKind::kCublas);
  set_grouped_gemm(GroupedGemmKind::kAuto);
}

}  // namespace
}  // namespace moesaic::kernels
