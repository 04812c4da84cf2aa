#include "tests/kernels/cuda/emulation/racy_kernels.h"

#include "kernels/cuda/launch.h"

namespace moesaic::tests {

using kernels::cuda::launch;

__global__ void share_value(bool with_barrier, int* out) {
  __shared__ int value;
  if (threadIdx.x == 0) {
    value = 42;
  }
  if (with_barrier) {
    __syncthreads();
  }
  out[threadIdx.x] = value;
}
MOESAIC_KERNEL(share_value)

void run_share_value(bool with_barrier, int num_threads, int* out) {
  launch(share_value, 1, static_cast<unsigned>(num_threads), 0, nullptr, with_barrier, out);
}

__global__ void read_neighbour(bool with_syncwarp, int* out) {
  __shared__ int values[32];
  const unsigned lane = threadIdx.x;
  values[lane] = static_cast<int>(lane) * 3;
  if (with_syncwarp) {
    __syncwarp();
  }
  const int next = __shfl_sync(0xFFFFFFFF, static_cast<int>(lane), static_cast<int>(lane + 1) % 32);
  out[lane] = values[next];
}
MOESAIC_KERNEL(read_neighbour)

void run_read_neighbour(bool with_syncwarp, int* out) {
  launch(read_neighbour, 1, 32, 0, nullptr, with_syncwarp, out);
}

__global__ void set_flag(bool with_atomic, int* out) {
  __shared__ int flag;
  if (with_atomic) {
    atomicExch(&flag, 1);
  } else {
    flag = 1;
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    *out = flag;
  }
}
MOESAIC_KERNEL(set_flag)

void run_set_flag(bool with_atomic, int* out) {
  launch(set_flag, 1, 64, 0, nullptr, with_atomic, out);
}

__global__ void rounds(bool with_second_barrier, int num_rounds, int* out) {
  __shared__ int values[64];
  const unsigned thread = threadIdx.x;
  int sum = 0;
  for (int round = 0; round < num_rounds; ++round) {
    values[thread] = round;
    __syncthreads();
    sum += values[63 - thread];
    if (with_second_barrier) {
      __syncthreads();
    }
  }
  out[thread] = sum;
}
MOESAIC_KERNEL(rounds)

void run_rounds(bool with_second_barrier, int num_rounds, int* out) {
  launch(rounds, 1, 64, 0, nullptr, with_second_barrier, num_rounds, out);
}

__global__ void blocks_write(bool own_places, int* out) {
  out[(own_places ? blockIdx.x * blockDim.x : 0) + threadIdx.x] = 7;
}
MOESAIC_KERNEL(blocks_write)

void run_blocks_write(bool own_places, int num_blocks, int* out) {
  launch(blocks_write, static_cast<unsigned>(num_blocks), 32, 0, nullptr, own_places, out);
}

__global__ void last_block(bool with_fence, int* partial, unsigned* num_done, int* sum) {
  partial[blockIdx.x] = static_cast<int>(blockIdx.x) + 1;
  if (with_fence) {
    __threadfence();
  }
  if (atomicAdd(num_done, 1u) + 1 < gridDim.x) {
    return;
  }
  if (with_fence) {
    __threadfence();
  }
  *sum = 0;
  for (unsigned b = 0; b < gridDim.x; ++b) {
    *sum += partial[b];
  }
}
MOESAIC_KERNEL(last_block)

void run_last_block(bool with_fence, int num_blocks, int* partial, unsigned* num_done, int* sum) {
  launch(last_block, static_cast<unsigned>(num_blocks), 1, 0, nullptr, with_fence, partial,
         num_done, sum);
}

}  // namespace moesaic::tests
