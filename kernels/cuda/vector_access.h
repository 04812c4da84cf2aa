// Global memory in accesses of 16 bytes, and the scalar path for what does not allow them.
//
// A Pack is loaded and stored as one object of its own size and alignment: nvcc makes one 128-bit
// instruction of it where it would take a memcpy apart into bytes; a Pack that contains T may
// alias T for every compiler.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>

#include "kernels/cuda/accumulate.h"

namespace moesaic::kernels::cuda {

/// Bytes of the widest access of a thread.
inline constexpr int kVectorBytes = 16;

/// Elements of T in one access of 16 bytes.
template <class T>
inline constexpr int kVectorWidth = kVectorBytes / static_cast<int>(sizeof(T));

/// `width` neighbours in memory, moved together. The scalar path is a Pack of one.
template <class T, int width>
struct alignas(sizeof(T) * width) Pack {
  T at[width];
};

/// The pack that begins at `from`, which must be aligned to sizeof(Pack<T, width>).
template <int width, class T>
__device__ Pack<T, width> load_pack(const T* from) {
  return *reinterpret_cast<const Pack<T, width>*>(from);
}

/// Writes a pack to `to`, which must be aligned to sizeof(Pack<T, width>).
template <class T, int width>
__device__ void store_pack(T* to, const Pack<T, width>& pack) {
  *reinterpret_cast<Pack<T, width>*>(to) = pack;
}

/// Loads `count` <= width elements one by one, whatever their alignment; the rest is zero.
template <int width, class T>
__device__ Pack<T, width> load_scalars(const T* from, int64_t count) {
  Pack<T, width> pack;
#pragma unroll
  for (int i = 0; i < width; ++i) {
    pack.at[i] = i < count ? from[i] : round_to<T>(0);
  }
  return pack;
}

/// Stores the first `count` <= width elements one by one, whatever their alignment.
template <class T, int width>
__device__ void store_scalars(T* to, const Pack<T, width>& pack, int64_t count) {
#pragma unroll
  for (int i = 0; i < width; ++i) {
    if (i < count) {
      to[i] = pack.at[i];
    }
  }
}

/// Whether rows of `row_bytes` that begin at each of `pointers` can be moved in units of
/// `unit_bytes`. Null pointers are not looked at.
inline bool moves_in_units(int64_t unit_bytes, int64_t row_bytes,
                           std::initializer_list<const void*> pointers) {
  bool possible = row_bytes % unit_bytes == 0;
  for (const void* pointer : pointers) {
    possible = possible && reinterpret_cast<uintptr_t>(pointer) % unit_bytes == 0;
  }
  return possible;
}

}  // namespace moesaic::kernels::cuda
