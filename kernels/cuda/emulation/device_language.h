// CUDA C++ for a host compiler: the real headers for its types, ours for what they lack on a host.
//
// Compile with -fno-strict-aliasing, as nvcc in effect does: reinterpret_cast between vector types
// is everyday CUDA.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <device_launch_parameters.h>

// On a host a __shared__ variable is static: one block runs at a time. shared_memory.ld gathers all
// of them. GCC ignores section("...") in templates, but not noinit, whose section is .noinit.
#undef __shared__
#ifdef __clang__
#define __shared__ static __attribute__((section(".noinit")))
#else
#define __shared__ static __attribute__((noinit))
#endif
// Only static variables of functions with internal linkage get a red zone from AddressSanitizer.
#ifdef MOESAIC_EMULATION_ASAN
#undef __global__
#define __global__ static
#endif
#ifndef __launch_bounds__
#define __launch_bounds__(...)
#endif

#include "kernels/cuda/emulation/atomics.h"
#include "kernels/cuda/emulation/bit_intrinsics.h"
#include "kernels/cuda/emulation/cache_hints.h"
#include "kernels/cuda/emulation/device_interface.h"
#include "kernels/cuda/emulation/device_maths.h"
#include "kernels/cuda/emulation/half_maths.h"
#include "kernels/cuda/emulation/warp_intrinsics.h"

inline void __syncthreads(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  using namespace moesaic::kernels::cuda::emulation;
  block_barrier(BarrierKind::kPlain, 0, file, line);
}

inline int __syncthreads_count(int predicate, const char* file = __builtin_FILE(),
                               int line = __builtin_LINE()) {
  using namespace moesaic::kernels::cuda::emulation;
  return block_barrier(BarrierKind::kCount, predicate, file, line);
}

inline int __syncthreads_and(int predicate, const char* file = __builtin_FILE(),
                             int line = __builtin_LINE()) {
  using namespace moesaic::kernels::cuda::emulation;
  return block_barrier(BarrierKind::kAnd, predicate, file, line);
}

inline int __syncthreads_or(int predicate, const char* file = __builtin_FILE(),
                            int line = __builtin_LINE()) {
  using namespace moesaic::kernels::cuda::emulation;
  return block_barrier(BarrierKind::kOr, predicate, file, line);
}

inline void __threadfence(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  moesaic::kernels::cuda::emulation::memory_fence(file, line);
}

inline void __threadfence_block(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  moesaic::kernels::cuda::emulation::memory_fence(file, line);
}

[[noreturn]] inline void __trap(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  moesaic::kernels::cuda::emulation::trap(file, line);
}
