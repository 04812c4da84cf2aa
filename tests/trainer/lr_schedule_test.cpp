#include "trainer/lr_schedule.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

namespace moesaic::trainer {
namespace {

constexpr double kPeak = 4e-4;
constexpr int64_t kSteps = 101;

LrScheduleOptions make_options(LrScheduleKind kind) {
  LrScheduleOptions options;
  options.kind = kind;
  options.final_fraction = 0.1;
  return options;
}

TEST(LrSchedule, WarmsUpLinearlyToThePeak) {
  for (const auto kind :
       {LrScheduleKind::kConstant, LrScheduleKind::kCosine, LrScheduleKind::kLinear}) {
    auto options = make_options(kind);
    options.warmup_steps = 4;
    const LrSchedule schedule(options, kPeak, kSteps);
    EXPECT_DOUBLE_EQ(schedule.at(0), 0.25 * kPeak);
    EXPECT_DOUBLE_EQ(schedule.at(1), 0.5 * kPeak);
    EXPECT_DOUBLE_EQ(schedule.at(3), kPeak);
    EXPECT_DOUBLE_EQ(schedule.at(4), kPeak);
  }
}

TEST(LrSchedule, TheWarmUpMayBeAFractionOfTheRun) {
  auto by_steps = make_options(LrScheduleKind::kCosine);
  auto by_fraction = by_steps;
  by_steps.warmup_steps = 20;
  by_fraction.warmup_fraction = 0.2;  // of 101: 20.2
  for (int64_t step = 0; step < kSteps; ++step) {
    EXPECT_EQ(LrSchedule(by_fraction, kPeak, kSteps).at(step),
              LrSchedule(by_steps, kPeak, kSteps).at(step));
  }
}

TEST(LrSchedule, ConstantStaysAtThePeak) {
  const LrSchedule schedule(make_options(LrScheduleKind::kConstant), kPeak, kSteps);
  EXPECT_EQ(schedule.at(0), kPeak);
  EXPECT_EQ(schedule.at(kSteps - 1), kPeak);
}

TEST(LrSchedule, CosineFallsInItsClosedForm) {
  auto options = make_options(LrScheduleKind::kCosine);
  options.warmup_steps = 20;  // steps 20 .. 100 are half a period
  const LrSchedule schedule(options, kPeak, kSteps);
  EXPECT_NEAR(schedule.at(60), kPeak * 0.55, 1e-15);
  EXPECT_NEAR(schedule.at(40), kPeak * (0.1 + 0.9 * 0.5 * (1 + std::numbers::sqrt2 / 2)), 1e-15);
  EXPECT_NEAR(schedule.at(100), kPeak * 0.1, 1e-15);
  for (int64_t step = 21; step < kSteps; ++step) {
    EXPECT_LT(schedule.at(step), schedule.at(step - 1)) << step;
  }
}

TEST(LrSchedule, LinearFallsInItsClosedForm) {
  const LrSchedule schedule(make_options(LrScheduleKind::kLinear), kPeak, kSteps);
  EXPECT_NEAR(schedule.at(0), kPeak, 1e-15);
  EXPECT_NEAR(schedule.at(25), kPeak * (1 - 0.9 * 0.25), 1e-15);
  EXPECT_NEAR(schedule.at(100), kPeak * 0.1, 1e-15);
}

TEST(LrSchedule, ShortRunsHaveARateAtEveryStep) {
  for (const int64_t max_steps : {1, 2, 3}) {
    for (const int64_t warmup : {1, 2, 3}) {
      auto options = make_options(LrScheduleKind::kCosine);
      options.warmup_steps = warmup;
      for (int64_t step = 0; step < max_steps; ++step) {
        const double lr = LrSchedule(options, kPeak, max_steps).at(step);
        EXPECT_GE(lr, 0.1 * kPeak);
        EXPECT_LE(lr, kPeak);
      }
    }
  }
}

}  // namespace
}  // namespace moesaic::trainer
