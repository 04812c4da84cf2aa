// Floating-point numbers as unsigned integers in the same order, for maxima and radix selection.
//
// NaN is greater than every number, as in at::sort; -0 and +0 are equal. No value maps to 0, which
// so can stand for "nothing".
#pragma once

#include <cstdint>

#include "kernels/cuda/launch.h"

namespace moesaic::kernels::cuda {

__device__ inline uint32_t ordered_bits(float value) {
  if (value != value) {
    return UINT32_MAX;
  }
  const uint32_t bits = __float_as_uint(value + 0.0f);  // -0 becomes +0
  return bits >> 31 ? ~bits : bits | 0x80000000u;
}

__device__ inline uint64_t ordered_bits(double value) {
  if (value != value) {
    return UINT64_MAX;
  }
  const auto bits = static_cast<uint64_t>(__double_as_longlong(value + 0.0));
  return bits >> 63 ? ~bits : bits | uint64_t{1} << 63;
}

/// The value of ordered_bits; a NaN for a NaN.
__device__ inline float value_of_ordered_bits(uint32_t ordered) {
  return __uint_as_float(ordered >> 31 ? ordered ^ 0x80000000u : ~ordered);
}

__device__ inline double value_of_ordered_bits(uint64_t ordered) {
  return __longlong_as_double(
      static_cast<long long>(ordered >> 63 ? ordered ^ uint64_t{1} << 63 : ~ordered));
}

/// uint32_t for float, uint64_t for double.
template <class Value>
using OrderedBits = decltype(ordered_bits(Value()));

}  // namespace moesaic::kernels::cuda
