// Sums, maxima and prefixes of one value a lane. All 32 lanes of a warp call together.
//
// Sums go by a butterfly: the tree is fixed and every lane gets the same bits. Maxima and minima of
// integers go by redux.sync, one instruction on sm_80 and later.
#pragma once

#include <cstdint>

#include "kernels/cuda/grid.h"
#include "kernels/cuda/launch.h"

namespace moesaic::kernels::cuda {

inline constexpr unsigned kFullMask = 0xffffffffu;

/// The thread's place in its warp; warps of a block are runs of 32 values of threadIdx.x.
__device__ inline int lane_idx() {
  return static_cast<int>(threadIdx.x % kWarpSize);
}

/// The bits of the lanes below `lane`.
__device__ inline unsigned lanes_below(int lane) {
  return (1u << lane) - 1u;
}

template <class Value>
__device__ Value warp_sum(Value value) {
#pragma unroll
  for (int distance = kWarpSize / 2; distance > 0; distance /= 2) {
    value += __shfl_xor_sync(kFullMask, value, distance);
  }
  return value;
}

/// The sum of the values of this lane and of those below it.
template <class Value>
__device__ Value warp_inclusive_sum(Value value) {
  const int lane = lane_idx();
#pragma unroll
  for (int distance = 1; distance < kWarpSize; distance *= 2) {
    const Value below = __shfl_up_sync(kFullMask, value, distance);
    value += lane >= distance ? below : Value(0);
  }
  return value;
}

__device__ inline uint32_t warp_max(uint32_t value) {
  return __reduce_max_sync(kFullMask, value);
}

__device__ inline uint64_t warp_max(uint64_t value) {
  const auto high = static_cast<uint32_t>(value >> 32);
  const uint32_t max_high = warp_max(high);
  const uint32_t max_low = warp_max(high == max_high ? static_cast<uint32_t>(value) : 0u);
  return uint64_t{max_high} << 32 | max_low;
}

__device__ inline uint32_t warp_min(uint32_t value) {
  return __reduce_min_sync(kFullMask, value);
}

/// A key with the id it belongs to. Key 0 is that of nothing.
template <class Key>
struct Ranked {
  Key key;
  uint32_t id;
};

/// Whether `later` comes after `earlier` in the total order "greater key, then lower id".
template <class Key>
__device__ bool ranks_behind(const Ranked<Key>& later, const Ranked<Key>& earlier) {
  return later.key < earlier.key || (later.key == earlier.key && later.id > earlier.id);
}

/// The greatest key of the warp, of equal ones that with the lowest id.
template <class Key>
__device__ Ranked<Key> warp_arg_max(const Ranked<Key>& mine) {
  const Key key = warp_max(mine.key);
  return {key, warp_min(mine.key == key ? mine.id : UINT32_MAX)};
}

}  // namespace moesaic::kernels::cuda
