// The words of device code that a host compiler lacks, one kernel a family.
#pragma once

#include <cstdint>

namespace moesaic::tests {

struct BitResults {
  int popc, popcll, clz, clzll, ffs, ffsll, mulhi;
  unsigned brev, byte_perm, umulhi, funnel_left, funnel_right;
  unsigned long long brevll, umul64hi;
  long long mul64hi;
  float from_int;
  int from_float;
};

void run_bits(unsigned value, unsigned long long long_value, BitResults* results);

struct MathsResults {
  float min, max, rsqrt, exp, log, divide, saturate, fma, reciprocal, sqrt, int_to_float;
  double min_of_double, max_of_double, rsqrt_of_double;
  long long min_of_long, max_of_long;
  int nearest, toward_zero, down, up;
};

void run_maths(float x, float y, MathsResults* results);

struct HalfResults {
  float bfloat16_fma, half_fma, bfloat16_pair_fma, half_pair_fma;
};

/// a * b + c in the half types, given as floats that these represent.
void run_half_maths(float a, float b, float c, HalfResults* results);

/// Copies `size` numbers through every cache hint.
void run_cache_hints(int size, const float* in, float* out);

}  // namespace moesaic::tests
