// What the routers did, condensed to the numbers that a person watches.
// Shapes: L layers, E experts.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace moesaic::trainer {

struct ExpertLoad {
  std::vector<double> max_violation_L;  ///< largest load / mean load - 1
  std::vector<double> entropy_L;        ///< of the load, nats; ln E when balanced
  std::vector<int64_t> dropped_L;
  int64_t num_dead = 0;        ///< experts of all layers with less than 1 % of the mean load
  int64_t worst_layer = 0;     ///< of the largest max_violation
  double drop_fraction = 0.0;  ///< of all choices
};

/// counts_LE: int64 choices before dropping; dropped_L: int64.
ExpertLoad summarize_expert_load(const at::Tensor& counts_LE, const at::Tensor& dropped_L);

}  // namespace moesaic::trainer
