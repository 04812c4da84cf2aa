// Kernels of atomic operations, of launch geometry and of block barriers with a result.
#pragma once

#include <cstdint>

namespace moesaic::tests {

struct AtomicResults {
  int sum;
  unsigned unsigned_sum;
  unsigned long long long_sum;
  float float_sum;
  double double_sum;
  int difference;
  int minimum;
  int maximum;
  long long long_maximum;
  unsigned wrapped_up;
  unsigned wrapped_down;
  unsigned all_bits;
  unsigned any_bit;
  unsigned odd_bits;
  unsigned num_claimed;  // by atomicCAS
  int exchanged;         // sum of what atomicExch gave back, and of what it left
};

/// Every thread of `num_blocks` blocks of 64 takes part in each; thread i of all has the number i.
void run_atomics(int num_blocks, AtomicResults* results);

struct Extent {
  unsigned x, y, z;
};

/// Adds 1 at the linear index of each thread, and writes there the thread's own index.
void run_geometry(Extent grid, Extent block, int* num_visits, Extent* thread_index);

struct BarrierResults {
  int count, all, any;
};

/// Block of `num_threads`: the results of __syncthreads_count, _and, _or as each thread sees them,
/// for the predicates thread < num_true.
void run_barrier_results(int num_threads, int num_true, BarrierResults* results);

/// Notes the order in which blocks and threads run: ranks from 0.
void run_note_order(int num_blocks, int num_threads, unsigned* counter, unsigned* rank);

/// A launch with any configuration; the kernel does nothing.
void run_nothing(Extent grid, Extent block, unsigned long dynamic_shared_bytes);

/// Adds 1 to *out in each of `num_threads` threads, by a shared sum.
void run_count_threads(int num_threads, int* out);

}  // namespace moesaic::tests
