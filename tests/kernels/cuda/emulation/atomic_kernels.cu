#include "tests/kernels/cuda/emulation/atomic_kernels.h"

#define MOESAIC_EMULATION_FLOAT_ATOMICS
#include "kernels/cuda/launch.h"

namespace moesaic::tests {

using kernels::cuda::launch;

__global__ void all_atomics(AtomicResults* results) {
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  const int number = static_cast<int>(i);
  atomicAdd(&results->sum, number);
  atomicAdd(&results->unsigned_sum, i);
  atomicAdd(&results->long_sum, i * 0x100000000ull);
  atomicAdd(&results->float_sum, 0.5f);
  atomicAdd(&results->double_sum, 0.25);
  atomicSub(&results->difference, number);
  atomicMin(&results->minimum, -number);
  atomicMax(&results->maximum, number);
  atomicMax(&results->long_maximum, number * 0x100000000ll);
  atomicInc(&results->wrapped_up, 9);
  atomicDec(&results->wrapped_down, 9);
  atomicAnd(&results->all_bits, ~(1u << (i % 32)));
  atomicOr(&results->any_bit, 1u << (i % 8));
  atomicXor(&results->odd_bits, 1u << (i % 3));
  if (atomicCAS(&results->num_claimed, 0u, i + 1) == 0) {
    atomicAdd(&results->exchanged, 1000000);
  }
  __shared__ int place;
  if (threadIdx.x == 0) {
    place = 0;
  }
  __syncthreads();
  atomicAdd(&results->exchanged, atomicExch(&place, number));
  __syncthreads();
  if (threadIdx.x == 0) {
    atomicAdd(&results->exchanged, place);
  }
}
MOESAIC_KERNEL(all_atomics)

void run_atomics(int num_blocks, AtomicResults* results) {
  launch(all_atomics, static_cast<unsigned>(num_blocks), 64, 0, nullptr, results);
}

__global__ void geometry(int* num_visits, Extent* thread_index) {
  const unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  const unsigned thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  const unsigned place = block * blockDim.x * blockDim.y * blockDim.z + thread;
  atomicAdd(num_visits + place, 1);
  __syncthreads();  // the index is the thread's own also after others have run
  thread_index[place] = {threadIdx.x, threadIdx.y, threadIdx.z};
}
MOESAIC_KERNEL(geometry)

void run_geometry(Extent grid, Extent block, int* num_visits, Extent* thread_index) {
  launch(geometry, dim3(grid.x, grid.y, grid.z), dim3(block.x, block.y, block.z), 0, nullptr,
         num_visits, thread_index);
}

__global__ void barrier_results(int num_true, BarrierResults* results) {
  const int thread = static_cast<int>(threadIdx.x);
  const int holds = thread < num_true ? thread + 1 : 0;  // any value but 0 counts once
  results[thread].count = __syncthreads_count(holds);
  results[thread].all = __syncthreads_and(holds);
  results[thread].any = __syncthreads_or(holds);
}
MOESAIC_KERNEL(barrier_results)

void run_barrier_results(int num_threads, int num_true, BarrierResults* results) {
  launch(barrier_results, 1, static_cast<unsigned>(num_threads), 0, nullptr, num_true, results);
}

__global__ void note_order(unsigned* counter, unsigned* rank) {
  rank[blockIdx.x * blockDim.x + threadIdx.x] = atomicAdd(counter, 1u);
}
MOESAIC_KERNEL(note_order)

void run_note_order(int num_blocks, int num_threads, unsigned* counter, unsigned* rank) {
  launch(note_order, static_cast<unsigned>(num_blocks), static_cast<unsigned>(num_threads), 0,
         nullptr, counter, rank);
}

__global__ void nothing() {}
MOESAIC_KERNEL(nothing)

void run_nothing(Extent grid, Extent block, unsigned long dynamic_shared_bytes) {
  launch(nothing, dim3(grid.x, grid.y, grid.z), dim3(block.x, block.y, block.z),
         dynamic_shared_bytes, nullptr);
}

__global__ void count_threads(int* out) {
  MOESAIC_DYNAMIC_SHARED(int, sum);
  if (threadIdx.x == 0) {
    *sum = 0;
  }
  __syncthreads();
  atomicAdd(sum, 1);
  __syncthreads();
  if (threadIdx.x == 0) {
    *out = *sum;
  }
}
MOESAIC_KERNEL(count_threads)

void run_count_threads(int num_threads, int* out) {
  launch(count_threads, 1, static_cast<unsigned>(num_threads), sizeof(int), nullptr, out);
}

}  // namespace moesaic::tests
