// What the routers did in a step: choices of each expert before dropping, and dropped choices.
// Shapes: L layers with a router, E experts.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace moesaic::moe {

/// What one router decided for one micro-batch. T tokens, K choices a token.
struct RoutingDecision {
  int64_t layer_idx = 0;
  int64_t first_token = 0;   ///< of the micro-batch, among the tokens of the step
  at::Tensor expert_idx_TK;  ///< int64
  at::Tensor is_dropped_TK;  ///< bool
};

class RoutingStatistics {
 public:
  /// device: where the routers count.
  RoutingStatistics(int64_t num_layers, int64_t num_experts, at::Device device = at::kCPU);

  void reset();
  /// Adds one micro-batch of one layer.
  void add(int64_t layer_idx, const at::Tensor& counts_E, int64_t num_dropped);

  /// Whether the routers also append to `decisions`, to compare layouts choice by choice.
  bool keeps_decisions = false;
  std::vector<RoutingDecision> decisions;  ///< of this rank, in the order of the forwards

  at::Tensor counts_LE;  ///< int64, of this rank's tokens; the sum over data ranks is the truth
  at::Tensor dropped_L;  ///< int64, on the CPU
};

}  // namespace moesaic::moe
