#include "tests/kernels/cuda/emulation/maths_kernels.h"

#include "kernels/cuda/launch.h"

namespace moesaic::tests {

using kernels::cuda::launch;

__global__ void bits(unsigned value, unsigned long long long_value, BitResults* results) {
  const int number = static_cast<int>(value);
  const auto long_number = static_cast<long long>(long_value);
  results->popc = __popc(value);
  results->popcll = __popcll(long_value);
  results->clz = __clz(number);
  results->clzll = __clzll(long_number);
  results->ffs = __ffs(number);
  results->ffsll = __ffsll(long_number);
  results->mulhi = __mulhi(number, 3);
  results->brev = __brev(value);
  results->byte_perm = __byte_perm(0x33221100, 0x77665544, value);
  results->umulhi = __umulhi(value, 3);
  results->funnel_left = __funnelshift_l(value, 0xABCD1234, 8);
  results->funnel_right = __funnelshift_r(value, 0xABCD1234, 8);
  results->brevll = __brevll(long_value);
  results->umul64hi = __umul64hi(long_value, 5);
  results->mul64hi = __mul64hi(long_number, 5);
  results->from_int = __int_as_float(0x3F800000) + __uint_as_float(0x40000000) +
                      static_cast<float>(__longlong_as_double(0x4010000000000000));
  results->from_float = __float_as_int(-0.0f) == static_cast<int>(__float_as_uint(-0.0f)) &&
                        __double_as_longlong(1.0) == 0x3FF0000000000000;
}
MOESAIC_KERNEL(bits)

void run_bits(unsigned value, unsigned long long long_value, BitResults* results) {
  launch(bits, 1, 1, 0, nullptr, value, long_value, results);
}

__global__ void maths(float x, float y, MathsResults* results) {
  results->min = min(x, y);
  results->max = max(x, y);
  results->rsqrt = rsqrtf(x);
  results->exp = __expf(x);
  results->log = __logf(x);
  results->divide = __fdividef(x, y);
  results->saturate = __saturatef(x - y);
  results->fma = __fmaf_rn(x, y, __fsub_rn(y, __fadd_rn(x, __fmul_rn(x, y))));
  results->reciprocal = __frcp_rn(x);
  results->sqrt = __fsqrt_rn(x);
  results->int_to_float = __int2float_rn(static_cast<int>(threadIdx.x) + 7);
  results->min_of_double = min(static_cast<double>(x), static_cast<double>(y));
  results->max_of_double = max(x, static_cast<double>(y));
  results->rsqrt_of_double = rsqrt(static_cast<double>(x));
  results->min_of_long = min(int64_t{-5}, int64_t{1} << 40);
  results->max_of_long = max(-5ll, 1ll << 40);
  results->nearest = __float2int_rn(y);
  results->toward_zero = __float2int_rz(-y);
  results->down = __float2int_rd(-y);
  results->up = __float2int_ru(y);
}
MOESAIC_KERNEL(maths)

void run_maths(float x, float y, MathsResults* results) {
  launch(maths, 1, 1, 0, nullptr, x, y, results);
}

__global__ void half_maths(float a, float b, float c, HalfResults* results) {
  const auto brain = [](float x) { return __float2bfloat16(x); };
  const auto half = [](float x) { return __float2half(x); };
  results->bfloat16_fma = __bfloat162float(__hfma(brain(a), brain(b), brain(c)));
  results->half_fma = __half2float(__hfma(half(a), half(b), half(c)));
  const auto brains =
      __hfma2(__nv_bfloat162{brain(0), brain(a)}, __nv_bfloat162{brain(0), brain(b)},
              __nv_bfloat162{brain(0), brain(c)});
  const auto halves =
      __hfma2(__half2{half(0), half(a)}, __half2{half(0), half(b)}, __half2{half(0), half(c)});
  results->bfloat16_pair_fma = __high2float(brains) + __low2float(brains);
  results->half_pair_fma = __high2float(halves) + __low2float(halves);
}
MOESAIC_KERNEL(half_maths)

void run_half_maths(float a, float b, float c, HalfResults* results) {
  launch(half_maths, 1, 1, 0, nullptr, a, b, c, results);
}

__global__ void cache_hints(int size, const float* in, float* out) {
  for (int i = static_cast<int>(threadIdx.x); i < size; i += static_cast<int>(blockDim.x)) {
    switch (i % 6) {
      case 0:
        __stcs(out + i, __ldcs(in + i));
        break;
      case 1:
        __stcg(out + i, __ldcg(in + i));
        break;
      case 2:
        __stwb(out + i, __ldca(in + i));
        break;
      case 3:
        __stwt(out + i, __ldcv(in + i));
        break;
      case 4:
        out[i] = __ldlu(in + i);
        break;
      default:
        out[i] = __ldg(in + i);
    }
  }
}
MOESAIC_KERNEL(cache_hints)

void run_cache_hints(int size, const float* in, float* out) {
  launch(cache_hints, 1, 32, 0, nullptr, size, in, out);
}

}  // namespace moesaic::tests
