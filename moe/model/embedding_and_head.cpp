#include "moe/model/embedding_and_head.h"

#include <ATen/Functions.h>

#include "kernels/ops.h"

namespace moesaic::moe {

std::vector<DeclaredParameter> Embedding::declare() {
  return {whole_parameter("embed_tokens", {config_.vocab_size, config_.hidden_size},
                          "model.embed_tokens.weight", &weight_VD)};
}

at::Tensor Embedding::forward(const at::Tensor& input_ids_T, const LayerContext& /*context*/) {
  // As in Hugging Face: the row of the padding token gets no gradient.
  return at::embedding(weight_VD, input_ids_T, config_.pad_token_id.value_or(-1));
}

std::vector<DeclaredParameter> Head::declare() {
  std::vector<DeclaredParameter> parameters = {whole_parameter(
      "norm", {config_.hidden_size}, "model.norm.weight", &norm_D_, Initialization::kOnes)};
  if (tied_to_ == nullptr) {
    parameters.push_back(whole_parameter("lm_head", {config_.vocab_size, config_.hidden_size},
                                         "lm_head.weight", &own_weight_VD_));
  }
  return parameters;
}

at::Tensor Head::forward(const at::Tensor& x_TD, const LayerContext& /*context*/) {
  return at::rms_norm(x_TD, {config_.hidden_size}, norm_D_, config_.rms_norm_eps);
}

const at::Tensor& Head::weight_VD() const {
  return tied_to_ != nullptr ? tied_to_->weight_VD : own_weight_VD_;
}

at::Tensor Head::logits(const at::Tensor& normalised_TD) const {
  return at::linear(normalised_TD, weight_VD());
}

at::Tensor Head::loss_sum(const at::Tensor& normalised_TD, const at::Tensor& targets_T) const {
  return kernels::linear_cross_entropy(normalised_TD, weight_VD(), targets_T);
}

}  // namespace moesaic::moe
