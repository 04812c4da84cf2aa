#include "trainer/training_state.h"

#include <ATen/Functions.h>

#include <cmath>
#include <limits>

#include "moe/model/families/olmoe.h"
#include "parallel/global_norm.h"

namespace moesaic::trainer {

at::ScalarType parameter_dtype(const Config& config) {
  return config.trainer.precision.parameter == ParameterType::kFloat64 ? at::kDouble : at::kFloat;
}

TrainingOptions training_options(const Config& config, at::Device device) {
  TrainingOptions options;
  options.model = config.model.config;
  options.moe = config.moe;
  options.optimizer = config.optimizer;
  options.dtype = parameter_dtype(config);
  options.device = device;
  options.seed = static_cast<uint64_t>(config.trainer.seed);
  options.force_balance = config.debug.force_balance;
  return options;
}

TrainingState::TrainingState(const parallel::DeviceMesh& mesh, const TrainingOptions& options,
                             std::shared_ptr<parallel::FaultInjection> fault)
    : mesh_(mesh), options_(options), fault_(std::move(fault)) {
  const auto& model = options_.model;
  model_ = moe::build_olmoe(model, {.mesh = mesh_,
                                    .moe = options_.moe,
                                    .dtype = options_.dtype,
                                    .device = options_.device,
                                    .seed = options_.seed,
                                    .force_balance = options_.force_balance,
                                    .fault = fault_});
  auxiliary_ = std::make_unique<moe::AuxiliaryLosses>(options_.moe, model.num_hidden_layers,
                                                      model.num_experts, model.num_experts_per_tok,
                                                      mesh_.group("data"), fault_.get());
  statistics_ = std::make_unique<moe::RoutingStatistics>(model.num_hidden_layers, model.num_experts,
                                                         options_.device);
  reducer_ =
      std::make_unique<parallel::GradientReducer>(store(), options_.bucket_bytes, fault_.get());
  optimizer_ = std::make_unique<AdamW>(store(), options_.optimizer);
}

// ----------------------------------------------------------------------------- one training step
StepMetrics TrainingState::train_step(const std::vector<moe::MicroBatch>& micro_batches,
                                      const moe::StepShape& shape, double lr, bool stop_requested) {
  StepMetrics metrics = compute_gradients(micro_batches, shape, stop_requested);
  metrics.skipped = !std::isfinite(metrics.loss) || !std::isfinite(metrics.grad_norm);
  if (!metrics.skipped) {
    clip_and_update(metrics, lr);
  }
  return metrics;
}

StepMetrics TrainingState::compute_gradients(const std::vector<moe::MicroBatch>& micro_batches,
                                             const moe::StepShape& shape, bool stop_requested) {
  // Sums, not means: the divisor is the number of targets of the global batch, known before the
  // first backward, and nothing is divided by the size of a group.
  const int64_t num_targets = count_targets(micro_batches);
  const double divisor = static_cast<double>(std::max<int64_t>(num_targets, 1));
  auxiliary_->begin_step(shape);
  statistics_->reset();
  store().zero_gradients();

  double loss_sum = 0.0;
  for (size_t i = 0; i < micro_batches.size(); ++i) {
    const moe::LayerContext context = {
        .training = true, .auxiliary = auxiliary_.get(), .statistics = statistics_.get()};
    const auto loss = with_fault(model_->loss_sum(micro_batches[i], context));  // forward
    auxiliary_->finish_forward();
    if (i + 1 == micro_batches.size()) {
      reducer_->arm();  // complete buckets are reduced while this last backward still runs
    }
    loss.div(divisor).backward();
    loss_sum += loss.item<double>();
  }
  reducer_->finish();
  inject_gradient_fault();

  StepMetrics metrics = collect(loss_sum, num_targets, stop_requested);
  metrics.grad_norm = parallel::global_gradient_norm(store());
  return metrics;
}

void TrainingState::clip_and_update(const StepMetrics& metrics, double lr) {
  if (const auto& limit = options_.optimizer.max_grad_norm) {
    // torch.nn.utils.clip_grad_norm_'s factor, its 1e-6 included.
    const double factor = *limit / (metrics.grad_norm + 1e-6);
    if (factor < 1.0) {
      parallel::scale_gradients(store(), factor);
    }
  }
  optimizer_->step(lr);
}
// ------------------------------------------------------------------------ end of one training step

int64_t TrainingState::count_targets(const std::vector<moe::MicroBatch>& micro_batches) const {
  auto count = at::zeros({1}, at::kLong);
  for (const auto& micro_batch : micro_batches) {
    count.add_(micro_batch.targets_BS.ne(moe::kIgnoredTarget).sum());
  }
  mesh_.group("data")->all_reduce_sum(count)->wait();
  return count.item<int64_t>();
}

StepMetrics TrainingState::collect(double loss_sum, int64_t num_targets, bool stop_requested) {
  const auto local = auxiliary_->local_values();
  const auto sums = at::tensor(
      {loss_sum, local.load_balance, local.router_z, stop_requested ? 1.0 : 0.0}, at::kDouble);
  const auto data = mesh_.group("data");
  const auto work = data->all_reduce_sum(sums);
  StepMetrics metrics;
  metrics.counts_LE = statistics_->counts_LE.to(at::kCPU, at::kLong, /*non_blocking=*/false,
                                                /*copy=*/true);
  metrics.dropped_L = statistics_->dropped_L.clone();
  data->all_reduce_sum(metrics.counts_LE)->wait();
  data->all_reduce_sum(metrics.dropped_L)->wait();
  work->wait();
  metrics.loss = sums[0].item<double>() / static_cast<double>(std::max<int64_t>(num_targets, 1));
  metrics.auxiliary = {sums[1].item<double>(), sums[2].item<double>()};
  metrics.stop_requested = sums[3].item<double>() > 0.0;
  metrics.num_targets = num_targets;
  return metrics;
}

at::Tensor TrainingState::with_fault(const at::Tensor& loss) {
  const bool strikes = fault_ != nullptr && fault_->fire(parallel::FaultInjection::Kind::nan_loss);
  return strikes ? loss.mul(std::numeric_limits<double>::quiet_NaN()) : loss;
}

void TrainingState::inject_gradient_fault() {
  if (fault_ != nullptr && fault_->fire(parallel::FaultInjection::Kind::scale_gradient)) {
    const auto& entry = store().entries().back();
    store().slice(store().groups()[entry.group_idx].gradients, entry).mul_(2.0);
  }
}

}  // namespace moesaic::trainer
