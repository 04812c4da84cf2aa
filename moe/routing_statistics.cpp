#include "moe/routing_statistics.h"

#include <ATen/Functions.h>

namespace moesaic::moe {

RoutingStatistics::RoutingStatistics(int64_t num_layers, int64_t num_experts, at::Device device)
    : counts_LE(at::zeros({num_layers, num_experts}, at::dtype(at::kLong).device(device))),
      dropped_L(at::zeros({num_layers}, at::kLong)) {}

void RoutingStatistics::reset() {
  counts_LE.zero_();
  dropped_L.zero_();
  decisions.clear();
}

void RoutingStatistics::add(int64_t layer_idx, const at::Tensor& counts_E, int64_t num_dropped) {
  counts_LE.select(0, layer_idx).add_(counts_E);
  dropped_L.select(0, layer_idx).add_(num_dropped);
}

}  // namespace moesaic::moe
