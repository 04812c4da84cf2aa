// __shfl*_sync, votes, __match*_sync, __reduce*_sync, __syncwarp.
#pragma once

#include <concepts>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "kernels/cuda/emulation/device_interface.h"

namespace moesaic::kernels::cuda::emulation {

/// What the warp operations of CUDA carry: 2, 4 or 8 bytes.
template <class T>
concept WarpValue = std::is_trivially_copyable_v<T> &&
    (sizeof(T) == 2 || sizeof(T) == 4 || sizeof(T) == 8);

template <WarpValue T>
uint64_t bits_of(T value) {
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  return bits;
}

template <WarpValue T>
T shuffle(WarpOperation operation, unsigned mask, T value, unsigned argument, int width,
          const char* file, int line) {
  const uint64_t bits =
      warp_operation(operation, mask, bits_of(value), argument, width, file, line);
  std::memcpy(static_cast<void*>(&value), &bits, sizeof(T));
  return value;
}

template <class T>
concept Word = std::same_as<T, int> || std::same_as<T, unsigned>;

template <Word T>
T reduce(WarpOperation if_signed, WarpOperation if_unsigned, unsigned mask, T value,
         const char* file, int line) {
  const auto operation = std::is_signed_v<T> ? if_signed : if_unsigned;
  return static_cast<T>(
      warp_operation(operation, mask, static_cast<unsigned>(value), 0, warpSize, file, line));
}

}  // namespace moesaic::kernels::cuda::emulation

#define MOESAIC_SITE const char *file = __builtin_FILE(), int line = __builtin_LINE()

template <moesaic::kernels::cuda::emulation::WarpValue T>
T __shfl_sync(unsigned mask, T value, int source_lane, int width = warpSize, MOESAIC_SITE) {
  using namespace moesaic::kernels::cuda::emulation;
  return shuffle(WarpOperation::kShuffle, mask, value, static_cast<unsigned>(source_lane), width,
                 file, line);
}

template <moesaic::kernels::cuda::emulation::WarpValue T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = warpSize, MOESAIC_SITE) {
  using namespace moesaic::kernels::cuda::emulation;
  return shuffle(WarpOperation::kShuffleUp, mask, value, delta, width, file, line);
}

template <moesaic::kernels::cuda::emulation::WarpValue T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = warpSize, MOESAIC_SITE) {
  using namespace moesaic::kernels::cuda::emulation;
  return shuffle(WarpOperation::kShuffleDown, mask, value, delta, width, file, line);
}

template <moesaic::kernels::cuda::emulation::WarpValue T>
T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = warpSize, MOESAIC_SITE) {
  using namespace moesaic::kernels::cuda::emulation;
  return shuffle(WarpOperation::kShuffleXor, mask, value, static_cast<unsigned>(lane_mask), width,
                 file, line);
}

inline unsigned __ballot_sync(unsigned mask, int predicate, MOESAIC_SITE) {
  using namespace moesaic::kernels::cuda::emulation;
  return static_cast<unsigned>(
      warp_operation(WarpOperation::kBallot, mask, predicate != 0, 0, warpSize, file, line));
}

inline int __any_sync(unsigned mask, int predicate, MOESAIC_SITE) {
  using namespace moesaic::kernels::cuda::emulation;
  return static_cast<int>(
      warp_operation(WarpOperation::kAny, mask, predicate != 0, 0, warpSize, file, line));
}

inline int __all_sync(unsigned mask, int predicate, MOESAIC_SITE) {
  using namespace moesaic::kernels::cuda::emulation;
  return static_cast<int>(
      warp_operation(WarpOperation::kAll, mask, predicate != 0, 0, warpSize, file, line));
}

template <moesaic::kernels::cuda::emulation::WarpValue T>
requires(sizeof(T) >= 4) unsigned __match_any_sync(unsigned mask, T value, MOESAIC_SITE) {
  using namespace moesaic::kernels::cuda::emulation;
  return static_cast<unsigned>(
      warp_operation(WarpOperation::kMatchAny, mask, bits_of(value), 0, warpSize, file, line));
}

template <moesaic::kernels::cuda::emulation::WarpValue T>
requires(sizeof(T) >= 4) unsigned __match_all_sync(unsigned mask, T value, int* all, MOESAIC_SITE) {
  using namespace moesaic::kernels::cuda::emulation;
  const auto lanes = static_cast<unsigned>(
      warp_operation(WarpOperation::kMatchAll, mask, bits_of(value), 0, warpSize, file, line));
  *all = lanes != 0;
  return lanes;
}

template <moesaic::kernels::cuda::emulation::Word T>
T __reduce_add_sync(unsigned mask, T value, MOESAIC_SITE) {
  using enum moesaic::kernels::cuda::emulation::WarpOperation;
  return reduce(kReduceAddSigned, kReduceAddUnsigned, mask, value, file, line);
}

template <moesaic::kernels::cuda::emulation::Word T>
T __reduce_min_sync(unsigned mask, T value, MOESAIC_SITE) {
  using enum moesaic::kernels::cuda::emulation::WarpOperation;
  return reduce(kReduceMinSigned, kReduceMinUnsigned, mask, value, file, line);
}

template <moesaic::kernels::cuda::emulation::Word T>
T __reduce_max_sync(unsigned mask, T value, MOESAIC_SITE) {
  using enum moesaic::kernels::cuda::emulation::WarpOperation;
  return reduce(kReduceMaxSigned, kReduceMaxUnsigned, mask, value, file, line);
}

inline unsigned __reduce_and_sync(unsigned mask, unsigned value, MOESAIC_SITE) {
  using enum moesaic::kernels::cuda::emulation::WarpOperation;
  return reduce(kReduceAnd, kReduceAnd, mask, value, file, line);
}

inline unsigned __reduce_or_sync(unsigned mask, unsigned value, MOESAIC_SITE) {
  using enum moesaic::kernels::cuda::emulation::WarpOperation;
  return reduce(kReduceOr, kReduceOr, mask, value, file, line);
}

inline unsigned __reduce_xor_sync(unsigned mask, unsigned value, MOESAIC_SITE) {
  using enum moesaic::kernels::cuda::emulation::WarpOperation;
  return reduce(kReduceXor, kReduceXor, mask, value, file, line);
}

inline void __syncwarp(unsigned mask = 0xFFFFFFFF, MOESAIC_SITE) {
  using namespace moesaic::kernels::cuda::emulation;
  warp_operation(WarpOperation::kSync, mask, 0, 0, warpSize, file, line);
}

#undef MOESAIC_SITE
