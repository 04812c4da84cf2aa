#include "trainer/bench/statistics.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace moesaic::trainer {

TimeSummary summarize(std::vector<double> seconds) {
  if (seconds.empty()) {
    throw std::invalid_argument("bench: no times to summarize");
  }
  for (const double time : seconds) {
    if (!std::isfinite(time) || time <= 0.0) {
      throw std::invalid_argument("bench: a time of " + std::to_string(time) + " s");
    }
  }
  std::sort(seconds.begin(), seconds.end());
  const size_t half = seconds.size() / 2;
  const double median =
      seconds.size() % 2 == 1 ? seconds[half] : (seconds[half - 1] + seconds[half]) / 2.0;
  return {seconds.front(), median};
}

Rate rate_of(double amount, const TimeSummary& time) {
  return {amount / time.best_s, amount / time.median_s};
}

Rate fraction_of(const Rate& rate, const Rate& yardstick) {
  return {rate.best / yardstick.best, rate.median / yardstick.median};
}

}  // namespace moesaic::trainer
