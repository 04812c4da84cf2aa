// Maths that CUDA has in device code and <cmath> has not.
//
// On x86-64: no implicit contraction to fma, and expf, rsqrtf, __expf differ from the GPU's by some
// units in the last place. Functions named _rn, and fmaf, are exact here as there.
#pragma once

#include <cmath>
#include <limits>

#include <cuda_runtime.h>

#define MOESAIC_MIN_MAX(A, B, Result)                                                \
  inline Result min(A a, B b) {                                                      \
    return static_cast<Result>(a) < static_cast<Result>(b) ? static_cast<Result>(a)  \
                                                           : static_cast<Result>(b); \
  }                                                                                  \
  inline Result max(A a, B b) {                                                      \
    return static_cast<Result>(a) > static_cast<Result>(b) ? static_cast<Result>(a)  \
                                                           : static_cast<Result>(b); \
  }
MOESAIC_MIN_MAX(int, int, int)
MOESAIC_MIN_MAX(unsigned, unsigned, unsigned)
MOESAIC_MIN_MAX(int, unsigned, unsigned)
MOESAIC_MIN_MAX(unsigned, int, unsigned)
MOESAIC_MIN_MAX(long, long, long)
MOESAIC_MIN_MAX(unsigned long, unsigned long, unsigned long)
MOESAIC_MIN_MAX(long, unsigned long, unsigned long)
MOESAIC_MIN_MAX(unsigned long, long, unsigned long)
MOESAIC_MIN_MAX(long long, long long, long long)
MOESAIC_MIN_MAX(unsigned long long, unsigned long long, unsigned long long)
MOESAIC_MIN_MAX(long long, unsigned long long, unsigned long long)
MOESAIC_MIN_MAX(unsigned long long, long long, unsigned long long)
#undef MOESAIC_MIN_MAX
inline float min(float a, float b) {
  return fminf(a, b);
}
inline float max(float a, float b) {
  return fmaxf(a, b);
}
inline double min(double a, double b) {
  return fmin(a, b);
}
inline double max(double a, double b) {
  return fmax(a, b);
}
inline double min(float a, double b) {
  return fmin(a, b);
}
inline double max(float a, double b) {
  return fmax(a, b);
}
inline double min(double a, float b) {
  return fmin(a, b);
}
inline double max(double a, float b) {
  return fmax(a, b);
}

inline float rsqrtf(float x) {
  return 1 / sqrtf(x);
}
inline double rsqrt(double x) {
  return 1 / sqrt(x);
}
inline float __expf(float x) {
  return expf(x);
}
inline float __exp10f(float x) {
  return powf(10, x);
}
inline float __logf(float x) {
  return logf(x);
}
inline float __log2f(float x) {
  return log2f(x);
}
inline float __log10f(float x) {
  return log10f(x);
}
inline float __powf(float x, float y) {
  return powf(x, y);
}
inline float __sinf(float x) {
  return sinf(x);
}
inline float __cosf(float x) {
  return cosf(x);
}
inline float __tanhf(float x) {
  return tanhf(x);
}
inline float __fdividef(float x, float y) {
  return x / y;
}
inline float __saturatef(float x) {
  return x > 0 ? (x < 1 ? x : 1.0f) : 0.0f;
}  // NaN: 0

inline float __fadd_rn(float x, float y) {
  return x + y;
}
inline float __fsub_rn(float x, float y) {
  return x - y;
}
inline float __fmul_rn(float x, float y) {
  return x * y;
}
inline float __fdiv_rn(float x, float y) {
  return x / y;
}
inline float __fmaf_rn(float x, float y, float z) {
  return fmaf(x, y, z);
}
inline float __frcp_rn(float x) {
  return 1 / x;
}
inline float __fsqrt_rn(float x) {
  return sqrtf(x);
}
inline float __frsqrt_rn(float x) {
  return static_cast<float>(1 / sqrt(static_cast<double>(x)));
}
inline double __dadd_rn(double x, double y) {
  return x + y;
}
inline double __dsub_rn(double x, double y) {
  return x - y;
}
inline double __dmul_rn(double x, double y) {
  return x * y;
}
inline double __ddiv_rn(double x, double y) {
  return x / y;
}
inline double __fma_rn(double x, double y, double z) {
  return fma(x, y, z);
}
inline double __drcp_rn(double x) {
  return 1 / x;
}
inline double __dsqrt_rn(double x) {
  return sqrt(x);
}

inline float __int2float_rn(int x) {
  return static_cast<float>(x);
}
inline float __uint2float_rn(unsigned x) {
  return static_cast<float>(x);
}
inline float __ll2float_rn(long long x) {
  return static_cast<float>(x);
}
inline float __ull2float_rn(unsigned long long x) {
  return static_cast<float>(x);
}
inline float __double2float_rn(double x) {
  return static_cast<float>(x);
}
inline double __int2double_rn(int x) {
  return x;
}
inline double __ll2double_rn(long long x) {
  return static_cast<double>(x);
}

namespace moesaic::kernels::cuda::emulation {
/// CUDA's conversion to int of a float that is already whole: saturates, NaN is 0.
inline int to_int(float whole) {
  if (std::isnan(whole)) {
    return 0;
  }
  if (whole >= 2147483648.0f) {
    return std::numeric_limits<int>::max();
  }
  return whole < -2147483648.0f ? std::numeric_limits<int>::min() : static_cast<int>(whole);
}
}  // namespace moesaic::kernels::cuda::emulation

inline int __float2int_rn(float x) {
  return moesaic::kernels::cuda::emulation::to_int(nearbyintf(x));
}
inline int __float2int_rz(float x) {
  return moesaic::kernels::cuda::emulation::to_int(truncf(x));
}
inline int __float2int_rd(float x) {
  return moesaic::kernels::cuda::emulation::to_int(floorf(x));
}
inline int __float2int_ru(float x) {
  return moesaic::kernels::cuda::emulation::to_int(ceilf(x));
}
