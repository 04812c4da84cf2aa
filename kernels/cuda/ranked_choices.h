// Device side of the dispatch plan: the chunks of choices, and the place of every choice by the
// ranks that scan_choices left. Included by the kernels of plan_dispatch.h only.
//
// Shape letters: kernels/ops.h, B chunks. Experts are taken in tiles that fit into shared memory.
#pragma once

#include "kernels/cuda/block_scan.h"
#include "kernels/cuda/plan_dispatch.h"
#include "kernels/cuda/warp_reduce.h"

namespace moesaic::kernels::cuda {

inline constexpr int kPlanThreads = 256;
inline constexpr int kPlanWarps = kPlanThreads / kWarpSize;
inline constexpr int kChoicesPerWarp = kChoicesPerChunk / kPlanWarps;
inline constexpr int kExpertsPerTile = 512;

/// The choices of a chunk; chunks are numbered group by group.
struct Chunk {
  int64_t group;
  int64_t first;  ///< choice
  int size;
};

__device__ inline Chunk chunk_at(int64_t b, const PlanShape& shape) {
  const int64_t chunks_per_group =
      (shape.choices_per_group + kChoicesPerChunk - 1) / kChoicesPerChunk;
  const int64_t group = b / chunks_per_group;
  const int64_t first_in_group = b % chunks_per_group * kChoicesPerChunk;
  const int64_t rest = shape.choices_per_group - first_in_group;
  return {group, group * shape.choices_per_group + first_in_group,
          static_cast<int>(rest < kChoicesPerChunk ? rest : kChoicesPerChunk)};
}

/// The experts [first, first + size) that blocks with this blockIdx.y look at.
struct ExpertTile {
  int64_t first;
  int size;

  __device__ explicit ExpertTile(int64_t num_experts)
      : first(int64_t{blockIdx.y} * kExpertsPerTile),
        size(static_cast<int>(num_experts - first < kExpertsPerTile ? num_experts - first
                                                                    : kExpertsPerTile)) {}

  /// The place of an id in the tile, -1 if it is of another.
  __device__ int place_of(int64_t id) const {
    return id >= first && id < first + size ? static_cast<int>(id - first) : -1;
  }
};

__device__ inline bool is_foreign(int64_t id, int64_t num_experts) {
  return id < 0 || id >= num_experts;
}

/// sums_e[e] = sum of values_E[0 .. tile.first + e), for the experts of the tile. All threads call.
/// Nobody writes before all have come; the next barrier makes the sums visible.
///   warp_sums  shared, [kPlanWarps]
__device__ inline void exclusive_scan_of_tile(const int64_t* values_E, const ExpertTile& tile,
                                              int64_t* sums_e, int64_t* warp_sums) {
  constexpr int kPerThread = kExpertsPerTile / kPlanThreads;
  int64_t before_tile = 0;
  if (tile.first > 0) {
    int64_t of_other_tiles = 0;
    for (int64_t e = threadIdx.x; e < tile.first; e += kPlanThreads) {
      of_other_tiles += values_E[e];
    }
    before_tile = block_scan<kPlanThreads>(of_other_tiles, warp_sums).all;
  }
  const int begin = static_cast<int>(threadIdx.x) * kPerThread;
  const int end = begin + kPerThread < tile.size ? begin + kPerThread : tile.size;
  int64_t own = 0;
  for (int e = begin; e < end; ++e) {
    own += values_E[tile.first + e];
  }
  int64_t sum = before_tile + block_scan<kPlanThreads>(own, warp_sums).before;
  for (int e = begin; e < end; ++e) {
    sums_e[e] = sum;
    sum += values_E[tile.first + e];
  }
}

/// Blocks for all chunks (x), at most max_blocks of them, and all tiles (y).
inline dim3 chunk_grid(const PlanShape& shape, int64_t max_blocks) {
  dim3 grid = row_grid(shape.num_chunks(), 1, max_blocks);
  grid.y = static_cast<unsigned>((shape.num_experts + kExpertsPerTile - 1) / kExpertsPerTile);
  return grid;
}

/// Experts of the first tile, the largest.
inline size_t experts_per_tile(int64_t num_experts) {
  return static_cast<size_t>(num_experts < kExpertsPerTile ? num_experts : kExpertsPerTile);
}

/// Calls visit(choice, e, rank) for the choices of chunk b whose expert, number e of the tile, is
/// in it: rank among the choices of that expert in the group, in order. The choices whose id is
/// outside [0, E) go to visit_foreign(choice). All threads call.
///   warp_ranks  shared, [kPlanWarps, tile.size]
/// A warp owns a run of the chunk and counts it in a row of its own, 32 choices at a time; then the
/// rows of earlier warps are added. So ranks follow the order of the choices; no atomics.
template <class Visit, class VisitForeign>
__device__ void visit_ranked_choices(const int64_t* __restrict__ expert_idx, const PlanShape& shape,
                                     int64_t b, const int32_t* __restrict__ ranks_BE,
                                     int32_t* warp_ranks, Visit visit, VisitForeign visit_foreign) {
  constexpr int kRounds = kChoicesPerWarp / kWarpSize;
  const Chunk chunk = chunk_at(b, shape);
  const ExpertTile tile(shape.num_experts);
  const int lane = lane_idx();
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  int32_t* const own_ranks = warp_ranks + warp * tile.size;
  const int begin = warp * kChoicesPerWarp + lane;

  for (int e = lane; e < tile.size; e += kWarpSize) {
    own_ranks[e] = 0;
  }
  __syncwarp();
  int64_t ids[kRounds];
  int rank[kRounds];
#pragma unroll
  for (int round = 0; round < kRounds; ++round) {
    const int i = begin + round * kWarpSize;
    ids[round] = i < chunk.size ? expert_idx[chunk.first + i] : -1;
  }
#pragma unroll
  for (int round = 0; round < kRounds; ++round) {
    const int e = tile.place_of(ids[round]);
    const unsigned peers = __match_any_sync(kFullMask, e);
    const int peers_before = __popc(peers & lanes_below(lane));
    rank[round] = e >= 0 ? own_ranks[e] + peers_before : 0;
    __syncwarp();
    if (e >= 0 && peers_before == 0) {
      own_ranks[e] += __popc(peers);
    }
    __syncwarp();
  }
  __syncthreads();
  for (int e = static_cast<int>(threadIdx.x); e < tile.size; e += kPlanThreads) {
    int32_t before = ranks_BE[b * shape.num_experts + tile.first + e];
#pragma unroll
    for (int w = 0; w < kPlanWarps; ++w) {
      const int32_t count = warp_ranks[w * tile.size + e];
      warp_ranks[w * tile.size + e] = before;
      before += count;
    }
  }
  __syncthreads();
#pragma unroll
  for (int round = 0; round < kRounds; ++round) {
    const int i = begin + round * kWarpSize;
    const int e = tile.place_of(ids[round]);
    if (e >= 0) {
      visit(chunk.first + i, e, own_ranks[e] + rank[round]);
    } else if (i < chunk.size && blockIdx.y == 0 && is_foreign(ids[round], shape.num_experts)) {
      visit_foreign(chunk.first + i);
    }
  }
}

}  // namespace moesaic::kernels::cuda
