#include "trainer/expert_load.h"

#include <algorithm>
#include <cmath>

namespace moesaic::trainer {

ExpertLoad summarize_expert_load(const at::Tensor& counts_LE, const at::Tensor& dropped_L) {
  constexpr double kDeadFraction = 0.01;
  ExpertLoad load;
  const auto counts = counts_LE.accessor<int64_t, 2>();
  const auto dropped = dropped_L.accessor<int64_t, 1>();
  int64_t num_choices = 0;
  int64_t num_dropped = 0;
  for (int64_t layer = 0; layer < counts.size(0); ++layer) {
    int64_t total = 0;
    int64_t largest = 0;
    for (int64_t e = 0; e < counts.size(1); ++e) {
      total += counts[layer][e];
      largest = std::max(largest, counts[layer][e]);
    }
    const double mean = static_cast<double>(total) / static_cast<double>(counts.size(1));
    double entropy = 0.0;
    for (int64_t e = 0; e < counts.size(1); ++e) {
      const auto count = static_cast<double>(counts[layer][e]);
      load.num_dead += count < kDeadFraction * mean ? 1 : 0;
      if (count > 0.0) {
        const double fraction = count / static_cast<double>(total);
        entropy -= fraction * std::log(fraction);
      }
    }
    load.max_violation_L.push_back(total > 0 ? static_cast<double>(largest) / mean - 1.0 : 0.0);
    load.entropy_L.push_back(entropy);
    load.dropped_L.push_back(dropped[layer]);
    num_choices += total;
    num_dropped += dropped[layer];
  }
  load.worst_layer = std::max_element(load.max_violation_L.begin(), load.max_violation_L.end()) -
                     load.max_violation_L.begin();
  load.drop_fraction =
      static_cast<double>(num_dropped) / static_cast<double>(std::max<int64_t>(num_choices, 1));
  return load;
}

}  // namespace moesaic::trainer
