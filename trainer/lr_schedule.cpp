#include "trainer/lr_schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace moesaic::trainer {

LrSchedule::LrSchedule(const LrScheduleOptions& options, double peak, int64_t max_steps)
    : options_(options), peak_(peak), max_steps_(max_steps) {
  if (options_.warmup_fraction) {
    warmup_steps_ = std::llround(*options_.warmup_fraction * static_cast<double>(max_steps));
  } else {
    warmup_steps_ = options_.warmup_steps.value_or(0);
  }
}

double LrSchedule::at(int64_t step) const {
  if (step < warmup_steps_) {
    return peak_ * static_cast<double>(step + 1) / static_cast<double>(warmup_steps_);
  }
  if (options_.kind == LrScheduleKind::kConstant) {
    return peak_;
  }
  const int64_t decay_steps = std::max<int64_t>(max_steps_ - 1 - warmup_steps_, 1);
  const double progress =
      std::min(1.0, static_cast<double>(step - warmup_steps_) / static_cast<double>(decay_steps));
  const double remaining = options_.kind == LrScheduleKind::kCosine
                               ? 0.5 * (1.0 + std::cos(std::numbers::pi * progress))
                               : 1.0 - progress;
  return peak_ * (options_.final_fraction + (1.0 - options_.final_fraction) * remaining);
}

}  // namespace moesaic::trainer
