#include "moe/model/language_model.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <c10/core/InferenceMode.h>
#include <torch/csrc/autograd/grad_mode.h>

#include "moe/stateless_random.h"

namespace moesaic::moe {

LanguageModel::LanguageModel(std::vector<std::unique_ptr<ModelPiece>> pieces,
                             const ModelConfig& config, const ModelBuild& build)
    : config_(config),
      device_(build.device),
      pieces_(std::move(pieces)),
      head_(dynamic_cast<Head*>(pieces_.back().get())) {
  TORCH_CHECK(head_ != nullptr, "language model: the last piece must be the head");
  std::vector<parallel::ParameterSpec> specs;
  for (const auto& piece : pieces_) {
    for (auto& parameter : piece->declare()) {
      specs.push_back(parameter.spec);
      parameters_.push_back(std::move(parameter));
    }
  }
  store_ = std::make_unique<parallel::ParameterStore>(build.mesh, std::move(specs), build.dtype,
                                                      build.device);
  initialize(build.seed);
}

// Draws depend on (seed, hub name), and hub names carry the expert's number: every layout agrees.
void LanguageModel::initialize(uint64_t seed) {
  const at::NoGradGuard no_grad;
  for (const auto& parameter : parameters_) {
    const at::Tensor flat = parameter.spec.tensor->detach().flatten();
    if (parameter.initialization == Initialization::kOnes) {
      flat.fill_(1.0);
      continue;
    }
    for (const auto& slice : parameter.slices) {
      TORCH_CHECK(slice.tensor_offset == 0, "initialisation of a partial tensor ",
                  slice.tensor.name);
      fill_truncated_normal(flat.narrow(0, slice.parameter_offset, slice.numel),
                            config_.initializer_range,
                            stream_key(seed, "initialize", slice.tensor.name));
    }
  }
}

at::Tensor LanguageModel::hidden_states(const at::Tensor& input_ids_BS, LayerContext& context) {
  context.num_sequences = input_ids_BS.size(0);
  context.sequence_length = input_ids_BS.size(1);
  at::Tensor x = input_ids_BS.flatten().to(device_);
  for (const auto& piece : pieces_) {
    x = piece->forward(x, context);
  }
  return x;
}

at::Tensor LanguageModel::loss_sum(const MicroBatch& micro_batch, LayerContext context) {
  context.first_token = micro_batch.first_sequence * micro_batch.input_ids_BS.size(1);
  const auto x_TD = hidden_states(micro_batch.input_ids_BS, context);
  return head_->loss_sum(x_TD, micro_batch.targets_BS.flatten().to(device_));
}

at::Tensor LanguageModel::logits(const at::Tensor& input_ids_BS, LayerContext context) {
  const auto logits_TV = head_->logits(hidden_states(input_ids_BS, context));
  return logits_TV.view({input_ids_BS.size(0), input_ids_BS.size(1), config_.vocab_size});
}

}  // namespace moesaic::moe
