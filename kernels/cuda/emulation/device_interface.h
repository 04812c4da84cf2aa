// What the words of CUDA in a kernel come down to: calls from the running CUDA thread.
//
// Included by every emulated kernel file; small, and free of the emulation's own types.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

namespace moesaic::kernels::cuda::emulation {

enum class BarrierKind { kPlain, kCount, kAnd, kOr };

enum class WarpOperation {
  kSync,
  kShuffle,
  kShuffleUp,
  kShuffleDown,
  kShuffleXor,
  kBallot,
  kAny,
  kAll,
  kMatchAny,
  kMatchAll,
  kReduceAddSigned,
  kReduceAddUnsigned,
  kReduceMinSigned,
  kReduceMinUnsigned,
  kReduceMaxSigned,
  kReduceMaxUnsigned,
  kReduceAnd,
  kReduceOr,
  kReduceXor,
};

/// Runs a whole grid on the calling thread; launches of several threads wait for each other.
/// Throws std::runtime_error for a launch that CUDA would refuse, KernelFault for what a kernel
/// does wrong, and whatever a kernel throws.
void run_kernel(const void* kernel, dim3 grid, dim3 block, size_t dynamic_shared_bytes,
                const void* call, void (*run)(const void* call));

/// The dynamic shared memory of the launch, 16-byte aligned; null if it has none.
void* dynamic_shared_memory();

/// Waits for all threads of the block. Returns what __syncthreads_count (and, or) does.
int block_barrier(BarrierKind kind, int predicate, const char* file, int line);

/// Waits for the lanes of `mask` and gives back this lane's result, in the low bytes.
/// `argument`: source lane, delta or lane mask of a shuffle; `width`: its segments.
uint64_t warp_operation(WarpOperation operation, unsigned mask, uint64_t value, unsigned argument,
                        int width, const char* file, int line);

void memory_fence(const char* file, int line);

/// Before each atomic operation: a place where other threads may go first.
void atomic_point(const char* file, int line);

/// __trap().
[[noreturn]] void trap(const char* file, int line);

}  // namespace moesaic::kernels::cuda::emulation
