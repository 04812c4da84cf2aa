// Count, scan, assign: each chunk of choices is counted, the counts become ranks within the group,
// and a choice's row is its rank behind the rows of what comes before.
//
// Shape letters: kernels/ops.h, B chunks.
#include "kernels/cuda/plan_dispatch.h"

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <string>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/ranked_choices.h"

namespace moesaic::kernels::cuda {

// counts_BE[b, e]: how often chunk b chooses e.
__global__ void __launch_bounds__(kPlanThreads)
    count_choices_kernel(const int64_t* __restrict__ expert_idx, PlanShape shape,
                         int64_t num_chunks, int32_t* __restrict__ counts_BE, int32_t* foreign_id) {
  MOESAIC_DYNAMIC_SHARED(int32_t, counts_e);
  const ExpertTile tile(shape.num_experts);
  for (int64_t b = blockIdx.x; b < num_chunks; b += gridDim.x) {
    const Chunk chunk = chunk_at(b, shape);
    for (int e = static_cast<int>(threadIdx.x); e < tile.size; e += kPlanThreads) {
      counts_e[e] = 0;
    }
    __syncthreads();
    for (int i = static_cast<int>(threadIdx.x); i < chunk.size; i += kPlanThreads) {
      const int64_t id = expert_idx[chunk.first + i];
      if (is_foreign(id, shape.num_experts)) {
        atomicOr(foreign_id, 1);
      } else if (const int e = tile.place_of(id); e >= 0) {
        atomicAdd(&counts_e[e], 1);
      }
    }
    __syncthreads();
    // The next chunk is cleared by the threads that read here: no barrier between.
    for (int e = static_cast<int>(threadIdx.x); e < tile.size; e += kPlanThreads) {
      counts_BE[b * shape.num_experts + tile.first + e] = counts_e[e];
    }
  }
}
MOESAIC_KERNEL(count_choices_kernel)

namespace {

constexpr int kScanExperts = 32;
constexpr int kScanSegments = 32;

// The chunks [begin, end) of one of the threads that share the column of an expert.
struct ChunkSegment {
  int64_t begin;
  int64_t end;

  __device__ ChunkSegment(int segment, int64_t num_chunks)
      : begin(num_chunks * segment / kScanSegments),
        end(num_chunks * (segment + 1) / kScanSegments) {}

  __device__ bool has_first_of_a_group(int64_t chunks_per_group) const {
    return (begin + chunks_per_group - 1) / chunks_per_group * chunks_per_group < end;
  }
};

}  // namespace

// Turns the counts of chunks into ranks: ranks_BE[b, e] choices of e come before chunk b in its
// group. Writes counts_GE; with a capacity C, first_row_GE[g, e] = sum over groups before g of
// min(C, counts_GE) and num_rows_E, the same over all groups. first_row_GE may be null with
// num_rows_E: then the counts only.
// Block: 32 experts x 32 segments of the chunks. A group belongs to the segment of its last chunk.
__global__ void __launch_bounds__(kScanExperts* kScanSegments, 1)
    scan_chunks_kernel(PlanShape shape, int64_t num_chunks, int64_t capacity, int32_t* ranks_BE,
                       int64_t* counts_GE, int64_t* first_row_GE, int64_t* num_rows_E) {
  __shared__ int32_t open_counts[kScanSegments][kScanExperts];  // of the group not yet complete
  __shared__ int64_t kept_counts[kScanSegments][kScanExperts];  // of the groups that end here
  const int64_t num_experts = shape.num_experts;
  const int64_t chunks_per_group = num_chunks == 0 ? 1 : num_chunks / shape.num_groups;
  const int y = static_cast<int>(threadIdx.y);
  const ChunkSegment segment(y, num_chunks);
  for (int64_t first = int64_t{blockIdx.x} * kScanExperts; first < num_experts;
       first += int64_t{gridDim.x} * kScanExperts) {
    const int64_t e = first + threadIdx.x;
    const bool has_expert = e < num_experts;
    int32_t open = 0;
    int64_t in_group = segment.begin % chunks_per_group;
    for (int64_t b = segment.begin; has_expert && b < segment.end; ++b) {
      open = (in_group == 0 ? 0 : open) + ranks_BE[b * num_experts + e];
      in_group = in_group + 1 == chunks_per_group ? 0 : in_group + 1;
    }
    open_counts[y][threadIdx.x] = open;
    __syncthreads();

    in_group = segment.begin % chunks_per_group;
    int32_t rank = 0;
    for (int before = y - 1; in_group != 0 && before >= 0; --before) {
      rank += open_counts[before][threadIdx.x];
      if (ChunkSegment(before, num_chunks).has_first_of_a_group(chunks_per_group)) {
        break;
      }
    }
    int64_t kept = 0;
    int64_t g = segment.begin / chunks_per_group;
    for (int64_t b = segment.begin; has_expert && b < segment.end; ++b) {
      rank = in_group == 0 ? 0 : rank;
      const int32_t count = ranks_BE[b * num_experts + e];
      ranks_BE[b * num_experts + e] = rank;
      rank += count;
      if (++in_group == chunks_per_group) {
        in_group = 0;
        counts_GE[g++ * num_experts + e] = rank;
        kept += rank < capacity ? rank : capacity;
      }
    }
    kept_counts[y][threadIdx.x] = kept;
    __syncthreads();

    if (num_rows_E != nullptr && has_expert) {
      int64_t row = 0;
      for (int before = 0; before < y; ++before) {
        row += kept_counts[before][threadIdx.x];
      }
      for (g = segment.begin / chunks_per_group; (g + 1) * chunks_per_group <= segment.end; ++g) {
        first_row_GE[g * num_experts + e] = row;
        const int64_t count = counts_GE[g * num_experts + e];
        row += count < capacity ? count : capacity;
      }
      if (y == kScanSegments - 1) {
        num_rows_E[e] = row;
      }
    }
  }
}
MOESAIC_KERNEL(scan_chunks_kernel)

// Rows where earlier choices win: those of rank >= capacity are dropped.
__global__ void __launch_bounds__(kPlanThreads, 3)
    assign_rows_kernel(const int64_t* __restrict__ expert_idx, PlanShape shape, int64_t num_chunks,
                       int64_t capacity, const int32_t* __restrict__ ranks_BE,
                       const int64_t* __restrict__ first_row_GE, PlanArrays plan) {
  MOESAIC_DYNAMIC_SHARED(int64_t, row_of_expert_e);  // then the ranks of the warps
  __shared__ int64_t warp_sums[kPlanWarps];
  const ExpertTile tile(shape.num_experts);
  auto* const warp_ranks = reinterpret_cast<int32_t*>(row_of_expert_e + tile.size);
  for (int64_t b = blockIdx.x; b < num_chunks; b += gridDim.x) {
    const int64_t* const first_row_e =
        first_row_GE + chunk_at(b, shape).group * shape.num_experts + tile.first;
    exclusive_scan_of_tile(plan.num_rows_E, tile, row_of_expert_e, warp_sums);
    visit_ranked_choices(
        expert_idx, shape, b, ranks_BE, warp_ranks,
        [&](int64_t choice, int e, int32_t rank) {
          const bool stays = rank < capacity;
          const int64_t row = row_of_expert_e[e] + first_row_e[e] + rank;
          plan.row_of_choice[choice] = stays ? row : -1;
          if (stays) {
            plan.source[row] = choice;
          }
        },
        [&](int64_t choice) { plan.row_of_choice[choice] = -1; });
  }
}
MOESAIC_KERNEL(assign_rows_kernel)

namespace {

constexpr int64_t kUnlimited = std::numeric_limits<int64_t>::max();

void check_shape(const PlanShape& shape) {
  const auto in_range = [](int64_t value, int64_t least) {
    return value >= least && value <= std::numeric_limits<int32_t>::max();
  };
  if (shape.num_groups < 0 || !in_range(shape.choices_per_group, shape.num_groups > 0 ? 1 : 0) ||
      !in_range(shape.num_experts, 1)) {
    throw std::invalid_argument(
        "plan_dispatch: impossible sizes: " + std::to_string(shape.num_groups) + " groups of " +
        std::to_string(shape.choices_per_group) + " choices, " + std::to_string(shape.num_experts) +
        " experts");
  }
}

}  // namespace

void scan_choices(const int64_t* expert_idx, const PlanShape& shape,
                  std::optional<int64_t> capacity, const PlanWorkspace& workspace,
                  const PlanArrays& plan, cudaStream_t stream, int64_t max_blocks) {
  check_shape(shape);
  if (shape.num_chunks() > 0) {
    launch(count_choices_kernel, chunk_grid(shape, max_blocks), dim3(kPlanThreads),
           experts_per_tile(shape.num_experts) * sizeof(int32_t), stream, expert_idx, shape,
           shape.num_chunks(), workspace.ranks_BE, plan.foreign_id);
  }
  launch(scan_chunks_kernel, row_grid(shape.num_experts, kScanExperts, max_blocks),
         dim3(kScanExperts, kScanSegments), /*dynamic_shared_bytes=*/0, stream, shape,
         shape.num_chunks(), capacity.value_or(kUnlimited), workspace.ranks_BE, plan.counts_GE,
         workspace.first_row_GE, plan.num_rows_E);
}

void count_choices(const int64_t* expert_idx, const PlanShape& shape, int32_t* ranks_BE,
                   int64_t* counts_GE, int32_t* foreign_id, cudaStream_t stream,
                   int64_t max_blocks) {
  PlanWorkspace workspace{};
  workspace.ranks_BE = ranks_BE;
  PlanArrays plan{};
  plan.counts_GE = counts_GE;
  plan.foreign_id = foreign_id;
  scan_choices(expert_idx, shape, std::nullopt, workspace, plan, stream, max_blocks);
}

void plan_dispatch_by_position(const int64_t* expert_idx, const PlanShape& shape,
                               std::optional<int64_t> capacity, const PlanWorkspace& workspace,
                               const PlanArrays& plan, cudaStream_t stream, int64_t max_blocks) {
  scan_choices(expert_idx, shape, capacity, workspace, plan, stream, max_blocks);
  if (shape.num_chunks() > 0) {
    const size_t bytes_per_expert = sizeof(int64_t) + kPlanWarps * sizeof(int32_t);
    launch(assign_rows_kernel, chunk_grid(shape, max_blocks), dim3(kPlanThreads),
           experts_per_tile(shape.num_experts) * bytes_per_expert, stream, expert_idx, shape,
           shape.num_chunks(), capacity.value_or(kUnlimited), workspace.ranks_BE,
           workspace.first_row_GE, plan);
  }
}

}  // namespace moesaic::kernels::cuda
