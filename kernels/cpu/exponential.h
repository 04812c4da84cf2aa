// exp for loops that must vectorise: no branch, no call, no table.
//
// Cody and Waite reduction to [-ln2/2, ln2/2], then the polynomial of Cephes' expf. Error below
// 2 ulp of normal numbers; subnormal, zero and infinite where std::exp is; NaN stays NaN.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace moesaic::kernels::cpu {

inline float exponential(float x) {
  // To [-104, 104], beyond which the result is zero or infinity anyway; NaN passes. In integers:
  // GCC does not vectorise a choice that hangs on a comparison of floats, which could trap.
  constexpr int32_t kLimit = std::bit_cast<int32_t>(104.0f);
  constexpr int32_t kInfinity = 0x7f800000;
  const auto bits = std::bit_cast<int32_t>(x);
  const int32_t size = bits & 0x7fffffff;
  const int32_t clamped = (size > kLimit) & (size <= kInfinity) ? kLimit : size;
  x = std::bit_cast<float>((bits ^ size) | clamped);
  constexpr float kShift = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  const float shifted = x * 1.44269504088896341f + kShift;
  const float power = shifted - kShift;
  const float r = (x - power * 0.693359375f) + power * 2.12194440e-4f;
  float y = 1.9875691500e-4f;
  y = y * r + 1.3981999507e-3f;
  y = y * r + 8.3334519073e-3f;
  y = y * r + 4.1665795894e-2f;
  y = y * r + 1.6666665459e-1f;
  y = y * r + 5.0000001201e-1f;
  y = y * r * r + r + 1.0f;
  // 2^power by its bits, in two factors: power runs from -150 to 150.
  const int32_t exponent = std::bit_cast<int32_t>(shifted) - std::bit_cast<int32_t>(kShift);
  const int32_t half = exponent >> 1;
  const float scale = std::bit_cast<float>(static_cast<uint32_t>(half + 127) << 23);
  const float rest = std::bit_cast<float>(static_cast<uint32_t>(exponent - half + 127) << 23);
  return y * scale * rest;
}

inline double exponential(double x) {
  return std::exp(x);
}

}  // namespace moesaic::kernels::cpu
