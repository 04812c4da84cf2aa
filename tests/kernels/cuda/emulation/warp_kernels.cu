#include "tests/kernels/cuda/emulation/warp_kernels.h"

#include "kernels/cuda/launch.h"

namespace moesaic::tests {

using kernels::cuda::launch;

constexpr unsigned kFull = 0xFFFFFFFF;

template <class T>
__global__ void shuffle(Shuffle kind, const T* values, int argument, int width, T* results) {
  T value = values[threadIdx.x];
  switch (kind) {
    case Shuffle::kIndex:
      value = __shfl_sync(kFull, value, argument, width);
      break;
    case Shuffle::kUp:
      value = __shfl_up_sync(kFull, value, static_cast<unsigned>(argument), width);
      break;
    case Shuffle::kDown:
      value = __shfl_down_sync(kFull, value, static_cast<unsigned>(argument), width);
      break;
    case Shuffle::kXor:
      value = __shfl_xor_sync(kFull, value, argument, width);
      break;
  }
  results[threadIdx.x] = value;
}
MOESAIC_KERNEL(shuffle)

template <class T>
void run_shuffle(Shuffle kind, const T* values, int argument, int width, T* results) {
  launch(shuffle<T>, 1, 32, 0, nullptr, kind, values, argument, width, results);
}
template void run_shuffle(Shuffle, const int*, int, int, int*);
template void run_shuffle(Shuffle, const double*, int, int, double*);
template void run_shuffle(Shuffle, const unsigned long long*, int, int, unsigned long long*);

__global__ void shuffle_bfloat16(float* results) {
  const auto own = __float2bfloat16(static_cast<float>(threadIdx.x));
  results[threadIdx.x] =
      __bfloat162float(__shfl_sync(kFull, own, 31 - static_cast<int>(threadIdx.x)));
}
MOESAIC_KERNEL(shuffle_bfloat16)

void run_shuffle_bfloat16(float* results) {
  launch(shuffle_bfloat16, 1, 32, 0, nullptr, results);
}

__global__ void vote(unsigned mask, unsigned predicates, Votes* votes) {
  const unsigned lane = threadIdx.x;
  if (mask >> lane & 1) {
    const int holds = static_cast<int>(predicates >> lane & 1) * 17;
    votes[lane].ballot = __ballot_sync(mask, holds);
    votes[lane].any = __any_sync(mask, holds);
    votes[lane].all = __all_sync(mask, holds);
  }
}
MOESAIC_KERNEL(vote)

void run_votes(unsigned mask, unsigned predicates, Votes* votes) {
  launch(vote, 1, 32, 0, nullptr, mask, predicates, votes);
}

__global__ void match(unsigned mask, const int* values, Matches* matches) {
  const unsigned lane = threadIdx.x;
  if (mask >> lane & 1) {
    const int value = values[lane];
    matches[lane].any = __match_any_sync(mask, value);
    matches[lane].any_float = __match_any_sync(mask, static_cast<float>(value));
    matches[lane].any_long = __match_any_sync(mask, value * 0x100000000ll);
    matches[lane].all = __match_all_sync(mask, value, &matches[lane].is_all);
  }
}
MOESAIC_KERNEL(match)

void run_matches(unsigned mask, const int* values, Matches* matches) {
  launch(match, 1, 32, 0, nullptr, mask, values, matches);
}

__global__ void reduce(unsigned mask, const int* values, Reductions* reductions) {
  const unsigned lane = threadIdx.x;
  if (mask >> lane & 1) {
    const int value = values[lane];
    const auto positive = static_cast<unsigned>(value);
    Reductions& own = reductions[lane];
    own.add = __reduce_add_sync(mask, value);
    own.min = __reduce_min_sync(mask, value);
    own.max = __reduce_max_sync(mask, value);
    own.unsigned_add = __reduce_add_sync(mask, positive);
    own.unsigned_min = __reduce_min_sync(mask, positive);
    own.unsigned_max = __reduce_max_sync(mask, positive);
    own.bit_and = __reduce_and_sync(mask, positive);
    own.bit_or = __reduce_or_sync(mask, positive);
    own.bit_xor = __reduce_xor_sync(mask, positive);
  }
}
MOESAIC_KERNEL(reduce)

void run_reductions(unsigned mask, const int* values, Reductions* reductions) {
  launch(reduce, 1, 32, 0, nullptr, mask, values, reductions);
}

__global__ void half_sums(int* sums) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  int sum = static_cast<int>(threadIdx.x);
  if (lane % 2 == 0) {
    for (int distance = 2; distance < 32; distance *= 2) {
      sum += __shfl_xor_sync(0x55555555, sum, distance);
    }
  } else {
    for (int distance = 16; distance > 1; distance /= 2) {
      sum += __shfl_xor_sync(0xAAAAAAAA, sum, distance);
      __syncwarp(0xAAAAAAAA);
    }
  }
  sums[threadIdx.x] = sum;
}
MOESAIC_KERNEL(half_sums)

void run_half_sums(int num_threads, int* sums) {
  launch(half_sums, 1, static_cast<unsigned>(num_threads), 0, nullptr, sums);
}

__global__ void block_sum(const float* values, float* result) {
  __shared__ float of_warp[32];
  float sum = values[threadIdx.x];
  for (int distance = 16; distance > 0; distance /= 2) {
    sum += __shfl_down_sync(kFull, sum, static_cast<unsigned>(distance));
  }
  if (threadIdx.x % 32 == 0) {
    of_warp[threadIdx.x / 32] = sum;
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    for (unsigned w = 1; w < blockDim.x / 32; ++w) {
      sum += of_warp[w];
    }
    *result = sum;
  }
}
MOESAIC_KERNEL(block_sum)

void run_block_sum(int num_threads, const float* values, float* sum) {
  launch(block_sum, 1, static_cast<unsigned>(num_threads), 0, nullptr, values, sum);
}

}  // namespace moesaic::tests
