// Where larger weights win: the choices of each group and expert above capacity are listed in
// order, then a block a list finds the priority at the capacity and gives rows to those that stay.
//
// Shape letters: kernels/ops.h, B chunks.
#include "kernels/cuda/accumulate.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/ordered_bits.h"
#include "kernels/cuda/plan_dispatch.h"
#include "kernels/cuda/ranked_choices.h"

namespace moesaic::kernels::cuda {

// Gives rows to the choices of experts within capacity, and lists those of the others: group after
// group, in a group expert after expert, each list in the order of its choices.
template <class Weight>
__global__ void __launch_bounds__(kPlanThreads, 3)
    list_candidates_kernel(const int64_t* __restrict__ expert_idx,
                           const Weight* __restrict__ weights, PlanShape shape, int64_t num_chunks,
                           int64_t capacity, const int32_t* __restrict__ ranks_BE,
                           const int64_t* __restrict__ first_row_GE, PlanArrays plan,
                           int64_t* __restrict__ candidates,
                           OrderedBits<Accumulate<Weight>>* __restrict__ priorities) {
  MOESAIC_DYNAMIC_SHARED(int64_t, row_of_expert_e);  // then these, and the ranks of the warps
  __shared__ int64_t warp_sums[kPlanWarps];
  const ExpertTile tile(shape.num_experts);
  int64_t* const list_of_expert_e = row_of_expert_e + tile.size;
  auto* const warp_ranks = reinterpret_cast<int32_t*>(list_of_expert_e + tile.size);
  for (int64_t b = blockIdx.x; b < num_chunks; b += gridDim.x) {
    const int64_t group = chunk_at(b, shape).group;
    const int64_t* const counts_E = plan.counts_GE + group * shape.num_experts;
    const int64_t* const first_row_E = first_row_GE + group * shape.num_experts;
    exclusive_scan_of_tile(plan.num_rows_E, tile, row_of_expert_e, warp_sums);
    exclusive_scan_of_tile(counts_E, tile, list_of_expert_e, warp_sums);
    visit_ranked_choices(
        expert_idx, shape, b, ranks_BE, warp_ranks,
        [&](int64_t choice, int e, int32_t rank) {
          if (counts_E[tile.first + e] <= capacity) {
            const int64_t row = row_of_expert_e[e] + first_row_E[tile.first + e] + rank;
            plan.row_of_choice[choice] = row;
            plan.source[row] = choice;
          } else {
            const int64_t place = group * shape.choices_per_group + list_of_expert_e[e] + rank;
            candidates[place] = choice;
            priorities[place] = ordered_bits(widen(weights[choice]));
          }
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

template <class Key>
struct SelectShared {
  Key keys[kPlanThreads];
  int32_t histogram[kPlanThreads];
  int32_t warp_sums[kPlanWarps];
  Threshold<Key> threshold;
};

// Every warp by itself.
__device__ int64_t sum_of(const int64_t* values, int64_t size) {
  int64_t sum = 0;
  for (int64_t i = lane_idx(); i < size; i += kWarpSize) {
    sum += values[i];
  }
  return warp_sum(sum);
}

// The priority of rank `wanted` in [1, count], by comparing all with all: count <= kPlanThreads.
template <class Key>
__device__ Threshold<Key> find_threshold_of_few(const Key* priorities, int count, int64_t wanted,
                                                SelectShared<Key>& shared) {
  const int i = static_cast<int>(threadIdx.x);
  const Key key = i < count ? priorities[i] : Key(0);
  shared.keys[i] = key;
  __syncthreads();
  int above = 0;
  int equal_before = 0;
  for (int j = 0; j < count; ++j) {
    above += shared.keys[j] > key;
    equal_before += j < i && shared.keys[j] == key;
  }
  if (i < count && above + equal_before + 1 == wanted) {
    shared.threshold = {key, wanted - above};
  }
  __syncthreads();
  return shared.threshold;
}

// The same for any count, by radix: digit by digit from the top, the digits above being known.
static_assert(kPlanThreads == 256, "a thread a digit");
template <class Key>
__device__ Threshold<Key> find_threshold(const Key* priorities, int64_t count, int64_t wanted,
                                         SelectShared<Key>& shared) {
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
    const int32_t here = shared.histogram[digit];
    const int32_t above = block_scan<kPlanThreads>(here, shared.warp_sums).before;
    if (above < wanted && wanted <= above + here) {
      shared.threshold = {prefix | static_cast<Key>(digit) << shift, wanted - above};
    }
    __syncthreads();
    prefix = shared.threshold.key;
    known |= Key(255) << shift;
    wanted = shared.threshold.num_ties;
  }
  return {prefix, wanted};
}

}  // namespace

// A block a list of more candidates than the capacity: finds the threshold and gives rows to those
// that stay, in order.
template <class Key>
__global__ void __launch_bounds__(kPlanThreads)
    select_candidates_kernel(const int64_t* __restrict__ candidates,
                             const Key* __restrict__ priorities, PlanShape shape, int64_t capacity,
                             const int64_t* __restrict__ first_row_GE, PlanArrays plan) {
  __shared__ SelectShared<Key> shared;
  const int64_t num_experts = shape.num_experts;
  for (int64_t list = blockIdx.x; list < shape.num_groups * num_experts; list += gridDim.x) {
    const int64_t count = plan.counts_GE[list];
    if (count <= capacity) {
      continue;
    }
    const int64_t g = list / num_experts;
    const int64_t e = list % num_experts;
    const int64_t begin = g * shape.choices_per_group + sum_of(plan.counts_GE + g * num_experts, e);
    const int64_t first_row = first_row_GE[list] + sum_of(plan.num_rows_E, e);
    Threshold<Key> threshold{~Key(0), 0};  // nobody stays
    if (capacity > 0) {
      threshold =
          count <= kPlanThreads
              ? find_threshold_of_few(priorities + begin, static_cast<int>(count), capacity, shared)
              : find_threshold(priorities + begin, count, capacity, shared);
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
          block_scan<kPlanThreads>(int32_t{is_above} | int32_t{is_equal} << 16, shared.warp_sums);
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
  const size_t bytes_per_expert = 2 * sizeof(int64_t) + kPlanWarps * sizeof(int32_t);
  launch(list_candidates_kernel<Weight>, chunk_grid(shape, max_blocks), dim3(kPlanThreads),
         experts_per_tile(shape.num_experts) * bytes_per_expert, stream, expert_idx, weights, shape,
         shape.num_chunks(), capacity, workspace.ranks_BE, workspace.first_row_GE, plan,
         workspace.candidates, priorities);
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
