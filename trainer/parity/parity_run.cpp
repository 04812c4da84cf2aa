#include "trainer/parity/parity_run.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <fmt/format.h>
#include <torch/csrc/autograd/grad_mode.h>

#include <nlohmann/json.hpp>
#include <numeric>

#include "moe/experts.h"
#include "moe/model/families/olmoe.h"
#include "trainer/exit_code.h"

namespace moesaic::trainer {
namespace {

constexpr double kScalarBound = 1e-5;
constexpr double kGradientBound = 2e-5;
constexpr double kAdamWLossBound = 2e-5;
constexpr double kFinalWeightBound = 5e-6;

// The optimiser under which the golden cases were computed (tests/golden/README.md).
OptimizerOptions golden_optimizer() {
  OptimizerOptions options;
  options.lr = 1e-3;
  options.betas = {0.9, 0.95};
  options.eps = 1e-8;
  options.weight_decay = 0.1;
  options.max_grad_norm = 1.0;
  return options;
}

constexpr const char* kGradients = "gradients";

std::vector<std::string> missing_tensors(const moe::ModelConfig& model,
                                         const std::map<std::string, at::Tensor>& reference) {
  std::vector<std::string> missing;
  for (const auto& tensor : moe::olmoe_hub_tensors(model)) {
    if (!reference.contains(tensor.name)) {
      missing.push_back(tensor.name);
    }
  }
  return missing;
}

double relative_bound(const at::Tensor& reference) {
  return kScalarBound * std::max(1.0, reference.abs().max().item<double>());
}

void include_scalar(std::vector<Comparison>& comparisons, const std::string& name, double actual,
                    const at::Tensor& reference) {
  Comparison comparison{.quantity = name};
  if (reference.defined()) {
    comparison.include(
        fmt::format("{:.8g} instead of {:.8g}", actual, reference.reshape({-1})[0].item<double>()),
        std::abs(actual - reference.reshape({-1})[0].item<double>()), relative_bound(reference));
  }
  comparisons.push_back(comparison);
}

}  // namespace

ParityRun::ParityRun(const GoldenCase& golden, const parallel::DeviceMesh& mesh,
                     const ParityOptions& options, std::shared_ptr<parallel::FaultInjection> fault)
    : golden_(golden), mesh_(mesh) {
  const auto input_ids_BS = golden_.find("input_ids");
  const auto targets_BS = shifted_targets(golden_.find("labels"));
  shape_ = {.num_sequences = input_ids_BS.size(0),
            .sequence_length = input_ids_BS.size(1),
            .micro_batch_sequences = options.micro_batch_size};
  if (golden_.model.num_experts < mesh_.group("expert")->size()) {
    throw ExitError(ExitCode::kConfiguration,
                    fmt::format("parallel.expert: {} ranks cannot share {} experts",
                                mesh_.group("expert")->size(), golden_.model.num_experts));
  }
  if (golden_.moe.dispatcher == moe::DispatcherKind::kLocal && mesh_.group("expert")->size() > 1) {
    throw ExitError(ExitCode::kConfiguration,
                    fmt::format("parity: the case's dispatcher: local moves no rows between ranks, "
                                "but parallel.expert is {}",
                                mesh_.group("expert")->size()));
  }
  const auto data = mesh_.group("data");
  const int64_t share = options.micro_batch_size * data->size();
  if (shape_.num_sequences % share != 0) {
    throw ExitError(ExitCode::kConfiguration,
                    fmt::format("parity: {} sequences cannot be shared by {} data ranks with "
                                "data.micro_batch_size {}: their product must divide {}",
                                shape_.num_sequences, data->size(), options.micro_batch_size,
                                shape_.num_sequences));
  }
  const int64_t num_micro_batches = shape_.num_sequences / share;
  const bool counts_wait_for_all =
      golden_.moe.load_balance.formula == moe::BalanceFormula::kHuggingFace ||
      golden_.moe.load_balance.scope == moe::BalanceScope::kGlobal;
  if (counts_wait_for_all && num_micro_batches > 1) {
    throw ExitError(
        ExitCode::kConfiguration,
        fmt::format("parity: this case counts choices over the whole batch before the first "
                    "backward, so every rank must have one micro-batch, not {}: "
                    "--data.micro_batch_size={}",
                    num_micro_batches, shape_.num_sequences / data->size()));
  }
  for (int64_t i = 0; i < num_micro_batches; ++i) {
    const int64_t first = (data->rank() * num_micro_batches + i) * options.micro_batch_size;
    micro_batches_.push_back(
        {.input_ids_BS = input_ids_BS.narrow(0, first, options.micro_batch_size).contiguous(),
         .targets_BS = targets_BS.narrow(0, first, options.micro_batch_size).contiguous(),
         .first_sequence = first});
  }
  state_ = std::make_unique<TrainingState>(mesh_,
                                           TrainingOptions{.model = golden_.model,
                                                           .moe = golden_.moe,
                                                           .optimizer = golden_optimizer(),
                                                           .dtype = options.dtype,
                                                           .device = options.device,
                                                           .force_balance = options.force_balance},
                                           fault);
  load_weights();
}

void ParityRun::load_weights() {
  const at::NoGradGuard no_grad;
  for (const auto& tensor : moe::olmoe_hub_tensors(golden_.model)) {
    const auto found = golden_.weights.find(tensor.name);
    if (found == golden_.weights.end() || found->second.sizes() != at::IntArrayRef(tensor.shape)) {
      throw ExitError(ExitCode::kBadFile,
                      fmt::format("parity: model.safetensors has no tensor {} of shape [{}]",
                                  tensor.name, fmt::join(tensor.shape, ", ")));
    }
  }
  for (const auto& parameter : state_->model().parameters()) {
    const auto flat = parameter.spec.tensor->detach().flatten();
    for (const auto& slice : parameter.slices) {
      flat.narrow(0, slice.parameter_offset, slice.numel)
          .copy_(golden_.weights.at(slice.tensor.name)
                     .flatten()
                     .narrow(0, slice.tensor_offset, slice.numel));
    }
  }
}

std::vector<Comparison> ParityRun::run() {
  // The step comes first, so that a fault which strikes once strikes in training.
  std::vector<Comparison> comparisons;
  compare_first_step(comparisons);
  comparisons.push_back(compare_gradients());
  comparisons.insert(comparisons.begin(), compare_logits());
  comparisons.push_back(compare_adamw_losses());
  comparisons.push_back(compare_final_weights());
  auto merged = merge_over_ranks(comparisons, *mesh_.world());
  for (auto& comparison : merged) {
    if (comparison.of_tensors && comparison.compared) {
      comparison.not_compared =
          missing_tensors(golden_.model, comparison.quantity == kGradients ? golden_.gradients
                                                                           : golden_.final_weights);
    }
  }
  return merged;
}

Comparison ParityRun::compare_logits() {
  const at::NoGradGuard no_grad;
  Comparison comparison{.quantity = "logits"};
  const auto reference = golden_.find("logits");
  for (const auto& micro_batch : micro_batches_) {
    // As in training: the reference was computed with the case's capacity.
    const auto logits = state_->model().logits(micro_batch.input_ids_BS, {.training = true});
    if (reference.defined()) {
      const int64_t num_sequences = logits.size(0);
      comparison.include(fmt::format("sequences {} to {}", micro_batch.first_sequence,
                                     micro_batch.first_sequence + num_sequences - 1),
                         largest_difference(logits, reference.narrow(0, micro_batch.first_sequence,
                                                                     num_sequences)),
                         relative_bound(reference));
    }
  }
  return comparison;
}

double ParityRun::total_loss(const StepMetrics& metrics) const {
  return metrics.loss +
         golden_.moe.load_balance.coef.value_or(0.0) * metrics.auxiliary.load_balance +
         golden_.moe.router_z_loss_coef.value_or(0.0) * metrics.auxiliary.router_z;
}

void ParityRun::compare_first_step(std::vector<Comparison>& comparisons) {
  const auto metrics = state_->compute_gradients(micro_batches_, shape_);
  include_scalar(comparisons, "loss", total_loss(metrics), golden_.find("loss"));
  include_scalar(comparisons, "auxiliary value", metrics.auxiliary.load_balance,
                 golden_.find("aux_loss"));
  include_scalar(comparisons, "z value", metrics.auxiliary.router_z, golden_.find("z_loss"));
  include_scalar(comparisons, "gradient norm", metrics.grad_norm, golden_.find("grad_norm"));

  Comparison dropped{.quantity = "dropped choices"};
  if (const auto reference = golden_.find("dropped_per_layer"); reference.defined()) {
    for (int64_t layer = 0; layer < reference.numel(); ++layer) {
      const auto actual = metrics.dropped_L[layer].item<int64_t>();
      const auto expected = reference[layer].item<int64_t>();
      dropped.include(fmt::format("layer {}: {} instead of {}", layer, actual, expected),
                      static_cast<double>(std::abs(actual - expected)), 0.0);
    }
  }
  comparisons.push_back(dropped);
}

Comparison ParityRun::compare_gradients() {
  Comparison comparison{.quantity = kGradients, .of_tensors = true};
  auto& store = state_->store();
  for (const auto& parameter : state_->model().parameters()) {
    const auto& entry = store.entry(parameter.spec.name);
    const auto gradient = store.slice(store.groups()[entry.group_idx].gradients, entry).flatten();
    for (const auto& slice : parameter.slices) {
      const auto found = golden_.gradients.find(slice.tensor.name);
      if (found == golden_.gradients.end()) {
        continue;
      }
      const auto reference = found->second.flatten().narrow(0, slice.tensor_offset, slice.numel);
      comparison.include(
          slice.tensor.name,
          largest_difference(gradient.narrow(0, slice.parameter_offset, slice.numel), reference),
          kGradientBound * found->second.abs().max().item<double>());
    }
  }
  return comparison;
}

Comparison ParityRun::compare_adamw_losses() {
  Comparison comparison{.quantity = "AdamW losses"};
  const auto reference = golden_.find("adamw_losses");
  const int64_t num_steps = reference.defined() ? reference.numel() : 10;
  for (int64_t step = 0; step < num_steps; ++step) {
    const auto metrics = state_->train_step(micro_batches_, shape_, golden_optimizer().lr);
    if (reference.defined()) {
      const double expected = reference[step].item<double>();
      const double actual = total_loss(metrics);
      comparison.include(
          fmt::format("update {}: {:.8g} instead of {:.8g}", step + 1, actual, expected),
          std::abs(actual - expected), kAdamWLossBound);
    }
  }
  return comparison;
}

Comparison ParityRun::compare_final_weights() {
  Comparison comparison{.quantity = "final weights", .of_tensors = true};
  for (const auto& parameter : state_->model().parameters()) {
    const auto flat = parameter.spec.tensor->detach().flatten();
    for (const auto& slice : parameter.slices) {
      const auto found = golden_.final_weights.find(slice.tensor.name);
      if (found == golden_.final_weights.end()) {
        continue;
      }
      const auto difference =
          flat.narrow(0, slice.parameter_offset, slice.numel).to(at::kCPU, at::kDouble) -
          found->second.flatten().narrow(0, slice.tensor_offset, slice.numel).to(at::kDouble);
      comparison.include(slice.tensor.name, difference.square().mean().sqrt().item<double>(),
                         kFinalWeightBound);
    }
  }
  return comparison;
}

std::string ParityRun::rank_json() {
  std::vector<int64_t> sequences;
  for (const auto& micro_batch : micro_batches_) {
    for (int64_t i = 0; i < micro_batch.input_ids_BS.size(0); ++i) {
      sequences.push_back(micro_batch.first_sequence + i);
    }
  }
  const auto expert = mesh_.group("expert");
  const auto range = moe::expert_range(expert->rank(), expert->size(), golden_.model.num_experts);
  std::vector<int64_t> experts(range.size());
  std::iota(experts.begin(), experts.end(), range.begin);
  return nlohmann::ordered_json{{"rank", mesh_.world()->rank()},
                                {"sequences", sequences},
                                {"experts", experts},
                                {"parameter_bytes", state_->store().parameter_bytes()},
                                {"bytes_exchanged", mesh_.bytes_sent()}}
      .dump();
}

}  // namespace moesaic::trainer
