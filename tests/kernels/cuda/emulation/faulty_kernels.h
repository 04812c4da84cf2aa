// Small kernels, each with one fault that the emulation must find, and some without.
#pragma once

#include <cstdint>

namespace moesaic::tests {

enum class Fault {
  kNone,
  kDivergentBarrier,      // two places of the source
  kDivergentBarrierKind,  // __syncthreads against __syncthreads_or
  kBarrierAfterExit,      // thread 0 has ended before the others come
  kExitBeforeBarrier,     // the last thread ends when the others wait
  kMissingLane,           // one lane ends instead of coming to __syncwarp
  kLaneOutsideMask,       // all lanes call with a mask of 16
  kExitedLaneInMask,      // lane 0 has ended before the others name it
  kAbsentLaneInMask,      // a full mask in a warp of 16 lanes
  kDifferentMasks,        // two lanes name each other with different masks
  kDifferentOperations,   // ballot against shuffle
  kDifferentPlaces,       // the same shuffle at two places of the source
  kShuffleFromInactive,   // reads lane 20 with a mask of 16
  kWidthOfThree,
  kBarrierAgainstWarp,  // a deadlock: one lane at the barrier, the rest at __syncwarp
  kTrap,
  kException,  // a C++ exception, passed on as it is
};

/// One block of `num_threads` that commits the fault; with kNone, writes each thread's index.
void run_fault(Fault fault, int num_threads, int* out);

/// Writes one element of an array of `size`: at `index`, that is beyond the end when index >= size.
void run_static_shared_index(int index);  // 32 floats
void run_static_shared_write(int index);  // 32 floats in a template, by a pointer
void run_dynamic_shared_write(int index, int size);
void run_global_write(float* out, int index);

/// A 16-byte load from `in`, whatever its alignment.
void run_vector_load(const float* in, float* out);

/// sum = a + b and power = 2^exponent, whatever an int can hold.
void run_arithmetic(int a, int b, int exponent, int* sum, int* power);

/// Each of `num_blocks` blocks adds 1 to an unset shared int, and hands out what a float has.
void run_uninitialised_shared(int num_blocks, int* counts, float* values);

/// Block 0 waits for what block 1 writes, which runs later.
void run_wait_for_later_block(unsigned* flag);

/// Launched without MOESAIC_KERNEL.
void run_unregistered(int* out);

}  // namespace moesaic::tests
