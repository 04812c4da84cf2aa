// The learning rate as a function of the step: linear warm-up, then constant, cosine or linear.
#pragma once

#include <cstdint>

#include "trainer/optimizer_options.h"

namespace moesaic::trainer {

class LrSchedule {
 public:
  /// peak: optimizer.lr. max_steps: of the whole run.
  LrSchedule(const LrScheduleOptions& options, double peak, int64_t max_steps);

  /// Learning rate of the update of `step`, 0 .. max_steps-1. During a warm-up of W steps it is
  /// peak * (step + 1) / W; afterwards it falls to final_fraction * peak at the last step.
  double at(int64_t step) const;

 private:
  LrScheduleOptions options_;
  double peak_;
  int64_t max_steps_;
  int64_t warmup_steps_;
};

}  // namespace moesaic::trainer
