// The type that kernels compute in, max(float32, T), and the arithmetic whose rounding counts.
//
// Element types T: float, double, __nv_bfloat16, __half. A value is widened exactly at the load and
// rounded once at the store. nvcc contracts a * b + c into one rounding where it likes, so sums
// that another device must reproduce bit for bit spell out which of the two they mean.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cmath>
#include <type_traits>

namespace moesaic::kernels::cuda {

template <class T>
struct AccumulateOf {
  using type = float;
};
template <>
struct AccumulateOf<double> {
  using type = double;
};

/// max(float32, T): float for float, __nv_bfloat16 and __half, double for double.
template <class T>
using Accumulate = typename AccumulateOf<T>::type;

/// The value in Accumulate<T>, exactly.
__host__ __device__ inline float widen(float value) {
  return value;
}
__host__ __device__ inline double widen(double value) {
  return value;
}
__host__ __device__ inline float widen(__nv_bfloat16 value) {
  return __bfloat162float(value);
}
__host__ __device__ inline float widen(__half value) {
  return __half2float(value);
}

/// The value in T: the nearest, ties to even; NaN stays NaN.
template <class T>
__host__ __device__ T round_to(Accumulate<T> value) {
  if constexpr (std::is_same_v<T, __nv_bfloat16>) {
    return __float2bfloat16_rn(value);
  } else if constexpr (std::is_same_v<T, __half>) {
    return __float2half_rn(value);
  } else {
    return value;
  }
}

/// a * b, rounded, never contracted with a sum around it.
__host__ __device__ inline float rounded_product(float a, float b) {
#ifdef __CUDA_ARCH__
  return __fmul_rn(a, b);
#else
  return a * b;
#endif
}
__host__ __device__ inline double rounded_product(double a, double b) {
#ifdef __CUDA_ARCH__
  return __dmul_rn(a, b);
#else
  return a * b;
#endif
}

/// a * b + c in one rounding.
__host__ __device__ inline float fused_multiply_add(float a, float b, float c) {
  return fmaf(a, b, c);
}
__host__ __device__ inline double fused_multiply_add(double a, double b, double c) {
  return fma(a, b, c);
}

}  // namespace moesaic::kernels::cuda
