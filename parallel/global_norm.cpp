#include "parallel/global_norm.h"

#include <ATen/Functions.h>

#include <cmath>

namespace moesaic::parallel {
namespace {

// A fixed partition: the same bits for any number of threads, and the float64 copy stays small.
constexpr int64_t kChunk = int64_t{1} << 16;

double sum_of_squares(const at::Tensor& flat) {
  const auto num_chunks = (flat.numel() + kChunk - 1) / kChunk;
  double total = 0.0;
  for (int64_t i = 0; i < num_chunks; ++i) {
    const auto length = std::min(kChunk, flat.numel() - i * kChunk);
    const auto chunk = flat.narrow(0, i * kChunk, length).to(at::kDouble);
    total += at::dot(chunk, chunk).item<double>();
  }
  return total;
}

}  // namespace

double global_gradient_norm(const ParameterStore& store) {
  double total = 0.0;
  for (const auto& group : store.groups()) {
    const double here = sum_of_squares(group.gradients);
    if (group.shards == nullptr) {
      total += here;
      continue;
    }
    const auto everywhere = at::full({1}, here, at::kDouble);
    group.shards->all_reduce_sum(everywhere)->wait();
    total += everywhere.item<double>();
  }
  return std::sqrt(total);
}

void scale_gradients(ParameterStore& store, double factor) {
  for (auto& group : store.groups()) {
    group.gradients.mul_(factor);
  }
}

}  // namespace moesaic::parallel
