// The router: who goes where, with which weight. Auxiliary terms act here.
// Shapes: T tokens, D model width, E experts, K choices a token.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <string>
#include <vector>

#include "kernels/ops.h"
#include "moe/layer_context.h"
#include "moe/moe_options.h"
#include "moe/parameter.h"

namespace moesaic::moe {

struct RouterOptions {
  int64_t hidden_size = 0;
  int64_t num_experts = 0;
  kernels::RouteOptions route;
  CapacityOptions capacity;  ///< of training; validation and generation are dropless
  int64_t layer_idx = 0;     ///< among the layers with a router
  /// debug.force_balance: expert ids uniform by f(seed, layer, token), weights 1/K.
  std::optional<uint64_t> force_balance_seed;
};

/// The decision for every token of a micro-batch. Saved, never recomputed.
struct Routing {
  at::Tensor weights_TK;  ///< differentiable; the auxiliary gradients hang on it
  kernels::DispatchPlan plan;
};

class Router {
 public:
  explicit Router(RouterOptions options) : options_(std::move(options)) {}

  /// prefix: of the local name, e.g. "layers.0.mlp"; hub_name of the weight, [E, D].
  std::vector<DeclaredParameter> declare(const std::string& prefix, const std::string& hub_name);

  /// x_TD: the tokens of a micro-batch, sequence after sequence. Scores, softmax and auxiliary
  /// terms run in max(float32, dtype).
  Routing operator()(const at::Tensor& x_TD, const LayerContext& context) const;

  at::Tensor weight_ED;

 private:
  kernels::RoutedTokens forced(const LayerContext& context, kernels::RoutedTokens routed) const;

  RouterOptions options_;
};

}  // namespace moesaic::moe
