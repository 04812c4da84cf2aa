// Prefix sums over the threads of a block, of integers.
#pragma once

#include "kernels/cuda/warp_reduce.h"

namespace moesaic::kernels::cuda {

template <class Value>
struct BlockSum {
  Value before;  ///< of the threads with a lower index
  Value all;
};

/// Sums `value` over the threads of a one-dimensional block; all of them call. Begins and ends with
/// what a barrier gives: nobody goes past it before all have come.
///   warp_sums  shared, [num_threads / 32]; free again on return
template <int num_threads, class Value>
__device__ BlockSum<Value> block_scan(Value value, Value* warp_sums) {
  constexpr int kNumWarps = num_threads / kWarpSize;
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  const Value inclusive = warp_inclusive_sum(value);
  if (lane_idx() == kWarpSize - 1) {
    warp_sums[warp] = inclusive;
  }
  __syncthreads();
  BlockSum<Value> sum{inclusive - value, Value(0)};
#pragma unroll
  for (int w = 0; w < kNumWarps; ++w) {
    const Value of_warp = warp_sums[w];
    sum.before += w < warp ? of_warp : Value(0);
    sum.all += of_warp;
  }
  __syncthreads();
  return sum;
}

}  // namespace moesaic::kernels::cuda
