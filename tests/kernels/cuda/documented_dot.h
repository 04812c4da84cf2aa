// The dot product of kernels/cuda/row_dot.h on the host, in the order that its header promises.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "kernels/cuda/grid.h"
#include "kernels/cuda/vector_access.h"

namespace moesaic::kernels::cuda {

template <class T>
Accumulate<T> documented_dot(const T* a, const T* b, int64_t width) {
  std::array<Accumulate<T>, kWarpSize> lanes{};
  for (int64_t i = 0; i < width; ++i) {
    auto& lane = lanes[i / kVectorWidth<T> % kWarpSize];
    lane = fused_multiply_add(widen(a[i]), widen(b[i]), lane);
  }
  for (int distance = kWarpSize / 2; distance > 0; distance /= 2) {
    const auto before = lanes;
    for (int i = 0; i < kWarpSize; ++i) {
      lanes[i] = before[i] + before[i ^ distance];
    }
  }
  return lanes[0];
}

}  // namespace moesaic::kernels::cuda
