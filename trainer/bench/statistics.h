// What is said of a list of times: the best, which noise can only raise, and the median.
#pragma once

#include <vector>

namespace moesaic::trainer {

struct TimeSummary {
  double best_s = 0.0;
  double median_s = 0.0;  ///< of an even number: the mean of the two in the middle
};

/// Throws std::invalid_argument for no times, and for one that is not positive and finite.
TimeSummary summarize(std::vector<double> seconds);

/// Amount a second: of the best time and of the median.
struct Rate {
  double best = 0.0;
  double median = 0.0;
};

Rate rate_of(double amount, const TimeSummary& time);

/// Best against best and median against median: quotients of two minima and of two medians that
/// were measured in the same rounds.
Rate fraction_of(const Rate& rate, const Rate& yardstick);

}  // namespace moesaic::trainer
