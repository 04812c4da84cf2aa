#include "trainer/evaluation.h"

#include <ATen/Functions.h>
#include <torch/csrc/autograd/grad_mode.h>

#include <algorithm>

#include "trainer/exit_code.h"

namespace moesaic::trainer {

EvaluationResult evaluate(moe::LanguageModel& model, const parallel::DeviceMesh& mesh,
                          const ValidationBatches& batches, std::optional<int64_t> max_passes) {
  const at::NoGradGuard no_grad;
  const int64_t num_passes =
      std::min(batches.num_passes(), max_passes.value_or(batches.num_passes()));
  double loss_sum = 0.0;
  int64_t num_targets = 0;
  for (int64_t pass = 0; pass < num_passes; ++pass) {
    const auto micro_batch = batches.batch(pass);
    loss_sum += model.loss_sum(micro_batch, {.training = false}).item<double>();
    num_targets += micro_batch.targets_BS.ne(moe::kIgnoredTarget).sum().item<int64_t>();
  }
  const auto sums = at::tensor({loss_sum, static_cast<double>(num_targets)}, at::kDouble);
  mesh.group("data")->all_reduce_sum(sums)->wait();
  const double total = sums[1].item<double>();
  if (total == 0.0) {
    throw ExitError(ExitCode::kBadFile, "evaluation: the data hold no target");
  }
  return {sums[0].item<double>() / total, static_cast<int64_t>(total)};
}

}  // namespace moesaic::trainer
