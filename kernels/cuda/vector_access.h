// Global memory in accesses of 16 bytes, and the scalar path for what does not allow them.
//
// A Pack is loaded and stored as one object of its own size and alignment: nvcc makes one 128-bit
// instruction of it where it would take a memcpy apart into bytes. It may alias whatever lies
// there, so that host compilers agree.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <type_traits>

#include "kernels/cuda/accumulate.h"

namespace moesaic::kernels::cuda {

/// Bytes of the widest access of a thread.
inline constexpr int kVectorBytes = 16;

/// Elements of T in one access of 16 bytes.
template <class T>
inline constexpr int kVectorWidth = kVectorBytes / static_cast<int>(sizeof(T));

/// `width` neighbours in memory, moved together. The scalar path is a Pack of one.
template <class T, int width>
struct [[gnu::may_alias]] alignas(sizeof(T) * width) Pack {
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

/// The first `count` elements at `from`, at most `width`; the rest is zero.
///   vectorised  `from` is aligned and count >= width: one access. Else element by element.
template <bool vectorised, int width, class T>
__device__ Pack<T, width> load_part(const T* from, int64_t count) {
  if constexpr (vectorised) {
    return load_pack<width>(from);
  } else {
    Pack<T, width> pack;
#pragma unroll
    for (int i = 0; i < width; ++i) {
      pack.at[i] = i < count ? from[i] : round_to<T>(0);
    }
    return pack;
  }
}

/// Writes the first `count` elements of a pack, at most all, to `to`; `vectorised` as above.
template <bool vectorised, class T, int width>
__device__ void store_part(T* to, const Pack<T, width>& pack, int64_t count) {
  if constexpr (vectorised) {
    store_pack(to, pack);
  } else {
#pragma unroll
    for (int i = 0; i < width; ++i) {
      if (i < count) {
        to[i] = pack.at[i];
      }
    }
  }
}

/// sum + <a, b>, elements in ascending order, each fused.
template <class T, int width>
__device__ Accumulate<T> add_products(const Pack<T, width>& a, const Pack<T, width>& b,
                                      Accumulate<T> sum) {
#pragma unroll
  for (int i = 0; i < width; ++i) {
    sum = fused_multiply_add(widen(a.at[i]), widen(b.at[i]), sum);
  }
  return sum;
}

/// Whether rows of `row_bytes` that begin at each of `pointers` can be moved in units of
/// `unit_bytes`. A null pointer forbids nothing.
inline bool moves_in_units(int64_t unit_bytes, int64_t row_bytes,
                           std::initializer_list<const void*> pointers) {
  bool possible = row_bytes % unit_bytes == 0;
  for (const void* pointer : pointers) {
    possible = possible && reinterpret_cast<uintptr_t>(pointer) % unit_bytes == 0;
  }
  return possible;
}

/// Calls visit(unit) with a Pack of 16, 8, 4, 2 or 1 bytes, the largest in which rows of
/// `row_bytes` at each of `pointers` can be moved. Of 32-bit words where it can be: nvcc takes the
/// bytes of a struct into one register each.
template <class Visit>
void with_largest_unit(int64_t row_bytes, std::initializer_list<const void*> pointers,
                       Visit&& visit) {
  if (moves_in_units(16, row_bytes, pointers)) {
    visit(Pack<uint32_t, 4>());
  } else if (moves_in_units(8, row_bytes, pointers)) {
    visit(Pack<uint32_t, 2>());
  } else if (moves_in_units(4, row_bytes, pointers)) {
    visit(Pack<uint32_t, 1>());
  } else if (moves_in_units(2, row_bytes, pointers)) {
    visit(Pack<uint16_t, 1>());
  } else {
    visit(Pack<uint8_t, 1>());
  }
}

}  // namespace moesaic::kernels::cuda
