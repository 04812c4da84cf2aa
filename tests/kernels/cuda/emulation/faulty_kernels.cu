#include "tests/kernels/cuda/emulation/faulty_kernels.h"

#include <stdexcept>

#include "kernels/cuda/launch.h"

namespace moesaic::tests {

using kernels::cuda::launch;

constexpr unsigned kLowerHalf = 0x0000FFFF;
constexpr unsigned kFull = 0xFFFFFFFF;

__global__ void commit_barrier_fault(Fault fault, int* out) {
  const int thread = static_cast<int>(threadIdx.x);
  const int last = static_cast<int>(blockDim.x) - 1;
  out[thread] = thread;
  switch (fault) {
    case Fault::kDivergentBarrier:
      if (thread < 3) {
        __syncthreads();
      } else {
        __syncthreads();
      }
      break;
    case Fault::kDivergentBarrierKind:
      if (thread < 3) {
        __syncthreads();
      } else {
        __syncthreads_or(1);
      }
      break;
    case Fault::kBarrierAfterExit:
      if (thread > 0) {
        __syncthreads();
      }
      break;
    case Fault::kExitBeforeBarrier:
      if (thread < last) {
        __syncthreads();
      }
      break;
    case Fault::kBarrierAgainstWarp:
      if (thread % 32 == 7) {
        __syncthreads();
      }
      __syncwarp();
      break;
    case Fault::kTrap:
      if (thread == 2) {
        __trap();
      }
      break;
    case Fault::kException:
      if (thread == 1) {
        throw std::out_of_range("thrown by a kernel");
      }
      break;
    default:
      __syncthreads();
  }
}
MOESAIC_KERNEL(commit_barrier_fault)

__global__ void commit_warp_fault(Fault fault, int* out) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  int value = lane;
  switch (fault) {
    case Fault::kMissingLane:
      if (lane != 7) {
        __syncwarp();
      }
      break;
    case Fault::kLaneOutsideMask:
      value = __shfl_sync(kLowerHalf, value, 0);
      break;
    case Fault::kExitedLaneInMask:
      if (lane == 0) {
        return;
      }
      value = __shfl_xor_sync(kFull, value, 1);
      break;
    case Fault::kAbsentLaneInMask:
      value = __shfl_xor_sync(kFull, value, 1);
      break;
    case Fault::kDifferentMasks:
      value = lane == 4 ? __any_sync(kFull, 1) : __any_sync(lane == 5 ? kLowerHalf : kFull, 1);
      break;
    case Fault::kDifferentOperations:
      if (lane == 9) {
        value = __ballot_sync(kFull, 1) != 0;
      } else {
        value = __shfl_sync(kFull, value, 0);
      }
      break;
    case Fault::kDifferentPlaces:
      if (lane == 9) {
        value = __shfl_sync(kFull, value, 0);
      } else {
        value = __shfl_sync(kFull, value, 0);
      }
      break;
    case Fault::kShuffleFromInactive:
      if (lane < 16) {
        value = __shfl_sync(kLowerHalf, value, 20);
      }
      break;
    case Fault::kWidthOfThree:
      value = __shfl_down_sync(kFull, value, 1, 3);
      break;
    default:
      break;
  }
  out[threadIdx.x] = value;
}
MOESAIC_KERNEL(commit_warp_fault)

void run_fault(Fault fault, int num_threads, int* out) {
  const bool of_warp = (fault >= Fault::kMissingLane && fault <= Fault::kWidthOfThree);
  launch(of_warp ? commit_warp_fault : commit_barrier_fault, 1, static_cast<unsigned>(num_threads),
         0, nullptr, fault, out);
}

__global__ void index_static_shared(int index, float* out) {
  __shared__ float values[32];
  values[index] = 1;
  *out = values[index];
}
MOESAIC_KERNEL(index_static_shared)

void run_static_shared_index(int index) {
  float out = 0;
  launch(index_static_shared, 1, 1, 0, nullptr, index, &out);
}

template <class T>
__global__ void write_static_shared(int index, T* out) {
  __shared__ T before[32];
  __shared__ T written[32];
  __shared__ T after[32];
  before[threadIdx.x] = after[threadIdx.x] = T(0);
  // Through a volatile: else UndefinedBehaviorSanitizer knows the object and is first to speak.
  T* volatile place = written;
  place[index] = before[threadIdx.x] + after[threadIdx.x] + 1;
  *out = place[index];
}
MOESAIC_KERNEL(write_static_shared)

void run_static_shared_write(int index) {
  float out = 0;
  launch(write_static_shared<float>, 1, 1, 0, nullptr, index, &out);
}

__global__ void write_dynamic_shared(int index) {
  MOESAIC_DYNAMIC_SHARED(float, values);
  values[index] = 1;
}
MOESAIC_KERNEL(write_dynamic_shared)

void run_dynamic_shared_write(int index, int size) {
  launch(write_dynamic_shared, 1, 1, static_cast<size_t>(size) * sizeof(float), nullptr, index);
}

__global__ void write_global(float* out, int index) {
  out[index] = 1;
}
MOESAIC_KERNEL(write_global)

void run_global_write(float* out, int index) {
  launch(write_global, 1, 1, 0, nullptr, out, index);
}

__global__ void load_vector(const float* in, float* out) {
  const float4 four = *reinterpret_cast<const float4*>(in);
  *out = four.x + four.y + four.z + four.w;
}
MOESAIC_KERNEL(load_vector)

void run_vector_load(const float* in, float* out) {
  launch(load_vector, 1, 1, 0, nullptr, in, out);
}

__global__ void compute(int a, int b, int exponent, int* sum, int* power) {
  *sum = a + b;
  *power = 1 << exponent;
}
MOESAIC_KERNEL(compute)

void run_arithmetic(int a, int b, int exponent, int* sum, int* power) {
  launch(compute, 1, 1, 0, nullptr, a, b, exponent, sum, power);
}

__global__ void use_uninitialised_shared(int* counts, float* values) {
  __shared__ int count;
  __shared__ float value;
  MOESAIC_DYNAMIC_SHARED(float, dynamic);
  atomicAdd(&count, 1);
  __syncthreads();
  if (threadIdx.x == 0) {
    counts[blockIdx.x] = count;
    values[blockIdx.x] = value + *dynamic;
    value = *dynamic = 5;  // must not reach the next block
  }
}
MOESAIC_KERNEL(use_uninitialised_shared)

void run_uninitialised_shared(int num_blocks, int* counts, float* values) {
  launch(use_uninitialised_shared, static_cast<unsigned>(num_blocks), 4, sizeof(float), nullptr,
         counts, values);
}

__global__ void wait_for_later_block(unsigned* flag) {
  if (blockIdx.x == 1) {
    atomicExch(flag, 1u);
    return;
  }
  while (atomicAdd(flag, 0u) == 0) {
  }
}
MOESAIC_KERNEL(wait_for_later_block)

void run_wait_for_later_block(unsigned* flag) {
  launch(wait_for_later_block, 2, 1, 0, nullptr, flag);
}

__global__ void unregistered(int* out) {
  *out = 1;
}

void run_unregistered(int* out) {
  launch(unregistered, 1, 1, 0, nullptr, out);
}

}  // namespace moesaic::tests
