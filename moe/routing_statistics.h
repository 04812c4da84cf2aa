// What the routers did in a step: choices of each expert before dropping, and dropped choices.
// Shapes: L layers with a router, E experts.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace moesaic::moe {

class RoutingStatistics {
 public:
  RoutingStatistics(int64_t num_layers, int64_t num_experts);

  void reset();
  /// Adds one micro-batch of one layer.
  void add(int64_t layer_idx, const at::Tensor& counts_E, int64_t num_dropped);

  at::Tensor counts_LE;  ///< int64, of this rank's tokens; the sum over data ranks is the truth
  at::Tensor dropped_L;  ///< int64
};

}  // namespace moesaic::moe
