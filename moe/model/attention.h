// Causal self-attention of OLMoE: QK-norm over the whole projection, optional clipping, rotary
// embedding, grouped-query heads.
// Shapes: B sequences, S positions, T = B*S tokens, D model width, H query heads, h key/value
// heads, d head dimension.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "moe/layer_context.h"
#include "moe/model/model_config.h"
#include "moe/parameter.h"

namespace moesaic::moe {

class Attention {
 public:
  explicit Attention(const ModelConfig& config) : config_(config) {}

  /// hub_prefix: e.g. "model.layers.0.self_attn.".
  std::vector<DeclaredParameter> declare(const std::string& prefix, const std::string& hub_prefix);

  /// x_TD: whole sequences of context.sequence_length positions, one after the other.
  at::Tensor operator()(const at::Tensor& x_TD, const LayerContext& context) const;

  at::Tensor qkv_proj;  ///< [(H + 2h) d, D]: rows of the query, key and value projections
  at::Tensor o_proj;    ///< [D, H d]
  at::Tensor q_norm;    ///< [H d]
  at::Tensor k_norm;    ///< [h d]

 private:
  ModelConfig config_;
};

}  // namespace moesaic::moe
