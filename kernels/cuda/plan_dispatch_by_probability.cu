// Where larger weights win: the choices of each group and expert are listed in order, then a block
// a list finds the priority at the capacity by radix and gives rows to those that stay.
//
// Shape letters: kernels/ops.h, B chunks.
#include "kernels/cuda/accumulate.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/ordered_bits.h"
#include "kernels/cuda/plan_dispatch.h"
#include "kernels/cuda/ranked_choices.h"

namespace moesaic::kernels::cuda {

// Lists lie group after group, in a group expert after expert.
template <class Weight>
__global__ void __launch_bounds__(kPlanThreads)
    list_candidates_kernel(const int64_t* __restrict__ expert_idx,
                           const Weight* __restrict__ weights, PlanShape shape, int64_t num_chunks,
                           const int32_t* __restrict__ ranks_BE, PlanArrays plan,
                           int64_t* __restrict__ candidates,
                           OrderedBits<Accumulate<Weight>>* __restrict__ priorities) {
  MOESAIC_DYNAMIC_SHARED(int64_t, ranking);
  __shared__ int64_t warp_sums[kPlanWarps];
  for (int64_t b = blockIdx.x; b < num_chunks; b += gridDim.x) {
    const int64_t group = chunk_at(b, shape).group;
    visit_ranked_choices(
        expert_idx, shape, b, ranks_BE, plan.counts_GE + group * shape.num_experts,
        group * shape.choices_per_group, ranking, warp_sums,
        [&](int64_t choice, int64_t, int64_t, int64_t place) {
          candidates[place] = choice;
          priorities[place] = ordered_bits(widen(weights[choice]));
        },
        [&](int64_t choice) { plan.row_of_choice[choice] = -1; });
  }
}
MOESAIC_KERNEL(list_candidates_kernel)

namespace {

// Who stays: all priorities above `key`, and the first `num_ties` that equal it.
template <class Key>
struct Threshold {
  Key key;
  int64_t num_ties;
};

struct SelectShared {
  int32_t histogram[256];
  int32_t warp_counts[kPlanWarps];
  int64_t warp_sums[kPlanWarps];
  int digit;
  int64_t wanted;
};

__device__ int64_t sum_of(const int64_t* values, int64_t size, SelectShared& shared) {
  int64_t sum = 0;
  for (int64_t i = threadIdx.x; i < size; i += kPlanThreads) {
    sum += values[i];
  }
  return block_scan<kPlanThreads>(sum, shared.warp_sums).all;
}

// The priority of rank `wanted` in [1, count], by radix: digit by digit from the top, the digits
// above being known.
template <class Key>
__device__ Threshold<Key> find_threshold(const Key* priorities, int64_t count, int64_t wanted,
                                         SelectShared& shared) {
  constexpr int kInFlight = 4;
  constexpr int kNoDigit = 256;
  Key prefix = 0;
  Key known = 0;
  for (int shift = 8 * sizeof(Key) - 8; shift >= 0; shift -= 8) {
    shared.histogram[threadIdx.x] = 0;
    __syncthreads();
    for (int64_t first = 0; first < count; first += kInFlight * kPlanThreads) {
      int digits[kInFlight];
#pragma unroll
      for (int j = 0; j < kInFlight; ++j) {
        const int64_t i = first + j * kPlanThreads + threadIdx.x;
        const Key key = i < count ? priorities[i] : Key(0);
        const bool counts = i < count && (key & known) == prefix;
        digits[j] = counts ? static_cast<int>(key >> shift & 255) : kNoDigit;
      }
#pragma unroll
      for (int j = 0; j < kInFlight; ++j) {
        // Priorities are alike in their upper digits: one atomic for all lanes with the same one.
        const unsigned peers = __match_any_sync(kFullMask, digits[j]);
        if (digits[j] != kNoDigit && (peers & lanes_below(lane_idx())) == 0) {
          atomicAdd(&shared.histogram[digits[j]], __popc(peers));
        }
      }
    }
    __syncthreads();
    const int digit = 255 - static_cast<int>(threadIdx.x);
    const int64_t here = shared.histogram[digit];
    const int64_t above = block_scan<kPlanThreads>(here, shared.warp_sums).before;
    if (above < wanted && wanted <= above + here) {
      shared.digit = digit;
      shared.wanted = wanted - above;
    }
    __syncthreads();
    prefix |= static_cast<Key>(shared.digit) << shift;
    known |= Key(255) << shift;
    wanted = shared.wanted;
  }
  return {prefix, wanted};
}

}  // namespace

// A block a list of candidates: finds the threshold and gives rows to those that stay, in order.
template <class Key>
__global__ void __launch_bounds__(kPlanThreads)
    select_candidates_kernel(const int64_t* __restrict__ candidates,
                             const Key* __restrict__ priorities, PlanShape shape, int64_t capacity,
                             const int64_t* __restrict__ first_row_GE, PlanArrays plan) {
  __shared__ SelectShared shared;
  const int64_t num_experts = shape.num_experts;
  for (int64_t list = blockIdx.x; list < shape.num_groups * num_experts; list += gridDim.x) {
    const int64_t count = plan.counts_GE[list];
    if (count == 0) {
      continue;
    }
    const int64_t g = list / num_experts;
    const int64_t e = list % num_experts;
    const int64_t begin =
        g * shape.choices_per_group + sum_of(plan.counts_GE + g * num_experts, e, shared);
    const int64_t first_row = first_row_GE[list] + sum_of(plan.num_rows_E, e, shared);
    Threshold<Key> threshold{0, 0};
    if (capacity == 0) {
      threshold.key = ~Key(0);
    } else if (count > capacity) {
      threshold = find_threshold(priorities + begin, count, capacity, shared);
    }
    int64_t num_above = 0;
    int64_t num_equal = 0;
    for (int64_t first = 0; first < count; first += kPlanThreads) {
      const int64_t i = first + threadIdx.x;
      const Key key = i < count ? priorities[begin + i] : Key(0);
      const bool is_above = i < count && key > threshold.key;
      const bool is_equal = i < count && key == threshold.key;
      // Both counts of at most kPlanThreads in one word.
      const auto sums =
          block_scan<kPlanThreads>(int32_t{is_above} | int32_t{is_equal} << 16, shared.warp_counts);
      const int64_t above = num_above + (sums.before & 0xffff);
      const int64_t equal = num_equal + (sums.before >> 16);
      if (i < count) {
        const int64_t choice = candidates[begin + i];
        const bool stays = is_above || (is_equal && equal < threshold.num_ties);
        const int64_t row =
            first_row + above + (equal < threshold.num_ties ? equal : threshold.num_ties);
        plan.row_of_choice[choice] = stays ? row : -1;
        if (stays) {
          plan.source[row] = choice;
        }
      }
      num_above += sums.all & 0xffff;
      num_equal += sums.all >> 16;
    }
  }
}
MOESAIC_KERNEL(select_candidates_kernel)

template <class Weight>
void plan_dispatch_by_probability(const int64_t* expert_idx, const Weight* weights,
                                  const PlanShape& shape, int64_t capacity,
                                  const PlanWorkspace& workspace, const PlanArrays& plan,
                                  cudaStream_t stream, int64_t max_blocks) {
  using Key = OrderedBits<Accumulate<Weight>>;
  scan_choices(expert_idx, shape, capacity, workspace, plan, stream, max_blocks);
  if (shape.num_chunks() == 0) {
    return;
  }
  auto* const priorities = reinterpret_cast<Key*>(workspace.priorities);
  launch(list_candidates_kernel<Weight>, chunk_grid(shape, max_blocks), dim3(kPlanThreads),
         ranking_bytes(shape.num_experts), stream, expert_idx, weights, shape, shape.num_chunks(),
         workspace.ranks_BE, plan, workspace.candidates, priorities);
  launch(select_candidates_kernel<Key>,
         row_grid(shape.num_groups * shape.num_experts, 1, max_blocks), dim3(kPlanThreads),
         /*dynamic_shared_bytes=*/0, stream, workspace.candidates, priorities, shape, capacity,
         workspace.first_row_GE, plan);
}

#define MOESAIC_INSTANTIATE(Weight)                                                   \
  template void plan_dispatch_by_probability<Weight>(                                 \
      const int64_t*, const Weight*, const PlanShape&, int64_t, const PlanWorkspace&, \
      const PlanArrays&, cudaStream_t, int64_t);
MOESAIC_INSTANTIATE(float)
MOESAIC_INSTANTIATE(double)
MOESAIC_INSTANTIATE(__nv_bfloat16)
MOESAIC_INSTANTIATE(__half)
#undef MOESAIC_INSTANTIATE

}  // namespace moesaic::kernels::cuda
