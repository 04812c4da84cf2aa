#include "moe/model/decoder_block.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>

namespace moesaic::moe {

DecoderBlock::DecoderBlock(int64_t block_idx, const ModelConfig& config, RouterOptions router,
                           ExpertsOptions experts, std::shared_ptr<TokenDispatcher> dispatcher)
    : block_idx_(block_idx),
      config_(config),
      attention_(config),
      mlp_(std::move(router), experts, std::move(dispatcher)) {}

std::vector<DeclaredParameter> DecoderBlock::declare() {
  const auto prefix = "layers." + std::to_string(block_idx_);
  const auto hub = "model." + prefix + ".";
  std::vector<DeclaredParameter> parameters;
  const auto append = [&](std::vector<DeclaredParameter> more) {
    std::move(more.begin(), more.end(), std::back_inserter(parameters));
  };
  append({whole_parameter(prefix + ".input_layernorm", {config_.hidden_size},
                          hub + "input_layernorm.weight", &input_norm_D_, Initialization::kOnes)});
  append(attention_.declare(prefix + ".self_attn", hub + "self_attn."));
  append({whole_parameter(prefix + ".post_attention_layernorm", {config_.hidden_size},
                          hub + "post_attention_layernorm.weight", &post_attention_norm_D_,
                          Initialization::kOnes)});
  append(mlp_.declare(prefix + ".mlp", hub + "mlp."));
  return parameters;
}

at::Tensor DecoderBlock::forward(const at::Tensor& x_TD, const LayerContext& context) {
  const auto norm = [&](const at::Tensor& x, const at::Tensor& weight) {
    return at::rms_norm(x, {config_.hidden_size}, weight, config_.rms_norm_eps);
  };
  const auto attended_TD = x_TD + attention_(norm(x_TD, input_norm_D_), context);
  return attended_TD + mlp_(norm(attended_TD, post_attention_norm_D_), context);
}

}  // namespace moesaic::moe
