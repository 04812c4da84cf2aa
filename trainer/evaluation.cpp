#include "trainer/evaluation.h"

#include <ATen/Functions.h>

#include <algorithm>

namespace moesaic::trainer {

EvaluationResult evaluate_all(TrainingState& state, const ValidationBatches& batches,
                              std::optional<int64_t> max_passes) {
  const int64_t num_passes =
      std::min(batches.num_passes(), max_passes.value_or(batches.num_passes()));
  double loss_sum = 0.0;
  int64_t num_targets = 0;
  for (int64_t pass = 0; pass < num_passes; ++pass) {
    const auto [loss, targets] = state.evaluate(batches.batch(pass));
    loss_sum += loss;
    num_targets += targets;
  }
  const auto sums = at::tensor({loss_sum, static_cast<double>(num_targets)}, at::kDouble);
  state.mesh().group("data")->all_reduce_sum(sums)->wait();
  const double total = std::max(sums[1].item<double>(), 1.0);
  return {sums[0].item<double>() / total, static_cast<int64_t>(sums[1].item<double>())};
}

}  // namespace moesaic::trainer
