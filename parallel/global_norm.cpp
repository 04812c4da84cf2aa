#include "parallel/global_norm.h"

#include <ATen/Functions.h>

#include <cmath>
#include <numeric>
#include <vector>

namespace moesaic::parallel {
namespace {

// A fixed partition: the same bits for any number of threads, and the float64 copy stays small. On
// a GPU a chunk must be worth three launches.
constexpr int64_t kHostChunk = int64_t{1} << 16;
constexpr int64_t kDeviceChunk = int64_t{1} << 24;

double sum_of_squares(const at::Tensor& flat) {
  const int64_t chunk_numel = flat.device().is_cpu() ? kHostChunk : kDeviceChunk;
  std::vector<at::Tensor> squares;
  for (int64_t begin = 0; begin < flat.numel(); begin += chunk_numel) {
    const auto length = std::min(chunk_numel, flat.numel() - begin);
    const auto chunk = flat.narrow(0, begin, length).to(at::kDouble);
    squares.push_back(at::dot(chunk, chunk));
  }
  if (squares.empty()) {
    return 0.0;
  }
  const auto on_host = at::stack(squares).to(at::kCPU);  // one wait for all
  const auto* square = on_host.const_data_ptr<double>();
  return std::accumulate(square, square + on_host.numel(), 0.0);
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
