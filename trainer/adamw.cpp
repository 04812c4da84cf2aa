#include "trainer/adamw.h"

#include <ATen/Functions.h>
#include <torch/csrc/autograd/grad_mode.h>

namespace moesaic::trainer {

AdamW::AdamW(parallel::ParameterStore& store, const OptimizerOptions& options)
    : store_(store), options_(options) {
  for (const auto& group : store_.groups()) {
    exp_avg_.push_back(at::zeros_like(group.values));
    exp_avg_sq_.push_back(at::zeros_like(group.values));
  }
}

void AdamW::step(double lr) {
  const at::NoGradGuard no_grad;
  ++num_updates_;
  std::vector<at::Tensor> values;
  std::vector<at::Tensor> gradients;
  std::vector<at::Tensor> steps;
  for (const auto& group : store_.groups()) {
    values.push_back(group.values);
    gradients.push_back(group.gradients);
    steps.push_back(
        at::full({}, static_cast<double>(num_updates_), group.values.options().dtype(at::kFloat)));
  }
  at::_fused_adamw_(values, gradients, exp_avg_, exp_avg_sq_, /*max_exp_avg_sqs=*/{}, steps, lr,
                    options_.betas[0], options_.betas[1], options_.weight_decay, options_.eps,
                    /*amsgrad=*/false, /*maximize=*/false);
}

}  // namespace moesaic::trainer
