// atomicAdd and the rest: relaxed, as in CUDA; memory is ordered by fences alone.
#pragma once

#include <concepts>
#include <cstring>
#include <type_traits>

#include "kernels/cuda/emulation/device_interface.h"

namespace moesaic::kernels::cuda::emulation {

/// CUDA's list, so that a kernel which compiles here also does under nvcc: no long, no size_t.
template <class T>
concept AtomicInteger =
    std::same_as<T, int> || std::same_as<T, unsigned> || std::same_as<T, unsigned long long>;
template <class T>
concept AtomicOrdered = AtomicInteger<T> || std::same_as<T, long long>;
template <class T>
concept AtomicPlace = AtomicInteger<T> || std::same_as<T, float>;

/// Replaces *address by change(*address); returns what was there.
template <class T, class Change>
T change_atomically(T* address, Change change, const char* file, int line) {
  atomic_point(file, line);
  using Bits = std::conditional_t<sizeof(T) == 4, unsigned, unsigned long long>;
  static_assert(sizeof(T) == sizeof(Bits));
  auto* place = reinterpret_cast<Bits*>(address);
  Bits before = __atomic_load_n(place, __ATOMIC_RELAXED);
  for (;;) {
    const T old = __builtin_bit_cast(T, before);
    const Bits after = __builtin_bit_cast(Bits, static_cast<T>(change(old)));
    if (__atomic_compare_exchange_n(place, &before, after, false, __ATOMIC_RELAXED,
                                    __ATOMIC_RELAXED)) {
      return old;
    }
  }
}

}  // namespace moesaic::kernels::cuda::emulation

// The value's type is the address's alone: atomicAdd(&count, 1) for an unsigned count.
#define MOESAIC_SITE const char *file = __builtin_FILE(), int line = __builtin_LINE()

template <moesaic::kernels::cuda::emulation::AtomicInteger T>
T atomicAdd(T* address, std::type_identity_t<T> value, MOESAIC_SITE) {
  moesaic::kernels::cuda::emulation::atomic_point(file, line);
  return __atomic_fetch_add(address, value, __ATOMIC_RELAXED);
}

// Sums of floats that depend on the order of threads have no place in our kernels: a kernel that
// makes one does not compile. Tests of the emulation may.
#ifdef MOESAIC_EMULATION_FLOAT_ATOMICS
template <std::floating_point T>
T atomicAdd(T* address, std::type_identity_t<T> value, MOESAIC_SITE) {
  using namespace moesaic::kernels::cuda::emulation;
  return change_atomically(
      address, [&](T old) { return old + value; }, file, line);
}
#else
template <std::floating_point T>
T atomicAdd(T* address, std::type_identity_t<T> value) = delete;
#endif

template <moesaic::kernels::cuda::emulation::AtomicInteger T>
requires(sizeof(T) == 4) T atomicSub(T* address, std::type_identity_t<T> value, MOESAIC_SITE) {
  moesaic::kernels::cuda::emulation::atomic_point(file, line);
  return __atomic_fetch_sub(address, value, __ATOMIC_RELAXED);
}

template <moesaic::kernels::cuda::emulation::AtomicPlace T>
T atomicExch(T* address, std::type_identity_t<T> value, MOESAIC_SITE) {
  using namespace moesaic::kernels::cuda::emulation;
  return change_atomically(
      address, [&](T) { return value; }, file, line);
}

template <moesaic::kernels::cuda::emulation::AtomicOrdered T>
T atomicMin(T* address, std::type_identity_t<T> value, MOESAIC_SITE) {
  using namespace moesaic::kernels::cuda::emulation;
  return change_atomically(
      address, [&](T old) { return value < old ? value : old; }, file, line);
}

template <moesaic::kernels::cuda::emulation::AtomicOrdered T>
T atomicMax(T* address, std::type_identity_t<T> value, MOESAIC_SITE) {
  using namespace moesaic::kernels::cuda::emulation;
  return change_atomically(
      address, [&](T old) { return value > old ? value : old; }, file, line);
}

inline unsigned atomicInc(unsigned* address, unsigned limit, MOESAIC_SITE) {
  using namespace moesaic::kernels::cuda::emulation;
  const auto next = [&](unsigned old) { return old >= limit ? 0 : old + 1; };
  return change_atomically(address, next, file, line);
}

inline unsigned atomicDec(unsigned* address, unsigned limit, MOESAIC_SITE) {
  using namespace moesaic::kernels::cuda::emulation;
  const auto next = [&](unsigned old) { return old == 0 || old > limit ? limit : old - 1; };
  return change_atomically(address, next, file, line);
}

template <moesaic::kernels::cuda::emulation::AtomicInteger T>
T atomicCAS(T* address, std::type_identity_t<T> expected, std::type_identity_t<T> value,
            MOESAIC_SITE) {
  moesaic::kernels::cuda::emulation::atomic_point(file, line);
  __atomic_compare_exchange_n(address, &expected, value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
  return expected;
}

template <moesaic::kernels::cuda::emulation::AtomicInteger T>
T atomicAnd(T* address, std::type_identity_t<T> value, MOESAIC_SITE) {
  moesaic::kernels::cuda::emulation::atomic_point(file, line);
  return __atomic_fetch_and(address, value, __ATOMIC_RELAXED);
}

template <moesaic::kernels::cuda::emulation::AtomicInteger T>
T atomicOr(T* address, std::type_identity_t<T> value, MOESAIC_SITE) {
  moesaic::kernels::cuda::emulation::atomic_point(file, line);
  return __atomic_fetch_or(address, value, __ATOMIC_RELAXED);
}

template <moesaic::kernels::cuda::emulation::AtomicInteger T>
T atomicXor(T* address, std::type_identity_t<T> value, MOESAIC_SITE) {
  moesaic::kernels::cuda::emulation::atomic_point(file, line);
  return __atomic_fetch_xor(address, value, __ATOMIC_RELAXED);
}

#undef MOESAIC_SITE
