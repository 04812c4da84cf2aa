// The dispatch plan on the GPU: a stable counting sort of the choices by expert, without atomics in
// the assignment of rows and without a word from the host. Plain pointers; shape letters of
// kernels/ops.h, and B chunks of at most kChoicesPerChunk consecutive choices of one group.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <optional>

#include "kernels/cuda/grid.h"

namespace moesaic::kernels::cuda {

/// Choices that one block counts and one block assigns.
inline constexpr int kChoicesPerChunk = 1024;

/// Choices are numbered token * K + k; a group is a run of choices_per_group of them.
struct PlanShape {
  int64_t num_groups = 0;
  int64_t choices_per_group = 0;  ///< tokens_per_group * K, below 2^31
  int64_t num_experts = 0;        ///< in [1, 2^31)

  int64_t num_choices() const { return num_groups * choices_per_group; }
  /// B, of all groups.
  int64_t num_chunks() const {
    return num_groups * ((choices_per_group + kChoicesPerChunk - 1) / kChoicesPerChunk);
  }
};

/// See kernels::DispatchPlan. All arrays are on the device and written.
struct PlanArrays {
  int64_t* source;         ///< [num_choices]; the first R = sum(num_rows) hold the rows' choices
  int64_t* row_of_choice;  ///< [num_choices]
  int64_t* counts_GE;      ///< [G, E]
  int64_t* num_rows_E;     ///< [E]
  int32_t* foreign_id;     ///< [1] becomes 1 where an id is outside [0, E). Never cleared here
};

/// Device memory whose contents nobody needs afterwards.
struct PlanWorkspace {
  int32_t* ranks_BE;      ///< [B, E]
  int64_t* first_row_GE;  ///< [G, E]: rows of the expert that earlier groups have
  int64_t* candidates;    ///< [num_choices] by probability, else null
  uint64_t* priorities;   ///< [num_choices] by probability, else null
};

/// The first two kernels of every plan, count and scan: plan.counts_GE, plan.num_rows_E,
/// workspace.first_row_GE and workspace.ranks_BE, the choices of the same expert that come before a
/// chunk in its group.
/// Throws std::invalid_argument for impossible sizes, std::runtime_error where a launch fails; so
/// do the others.
void scan_choices(const int64_t* expert_idx, const PlanShape& shape,
                  std::optional<int64_t> capacity, const PlanWorkspace& workspace,
                  const PlanArrays& plan, cudaStream_t stream, int64_t max_blocks = kMaxBlocks);

/// kernels::count_choices: choices of each expert in each group, before any dropping.
///   ranks_BE    workspace [B, E]
///   foreign_id  [1] becomes 1 where an id is outside [0, E); such a choice is not counted
void count_choices(const int64_t* expert_idx, const PlanShape& shape, int32_t* ranks_BE,
                   int64_t* counts_GE, int32_t* foreign_id, cudaStream_t stream,
                   int64_t max_blocks = kMaxBlocks);

/// kernels::plan_dispatch without a limit or where earlier tokens win.
///   expert_idx  [num_choices]; an id outside [0, E) raises plan.foreign_id, and its choice is
///               dropped and not counted
///   capacity    choices an expert keeps in a group, >= 0; none: all
/// Three kernels: count, scan, assign. Integers only: the same plan for any grid. Bytes: 16 N read,
/// 16 N written, 12 B E and 16 G E.
void plan_dispatch_by_position(const int64_t* expert_idx, const PlanShape& shape,
                               std::optional<int64_t> capacity, const PlanWorkspace& workspace,
                               const PlanArrays& plan, cudaStream_t stream,
                               int64_t max_blocks = kMaxBlocks);

/// kernels::plan_dispatch where larger weights win, ties to the earlier choice, NaN the largest.
///   weights     [num_choices]; Weight: float, double, __nv_bfloat16, __half
/// Four kernels: count, scan, assign, select. The third gives rows to the choices of experts within
/// capacity, and lists the candidates of the others in order. A list is selected from by one block:
/// up to 256 candidates by comparing all with all, more by radix, in 4 visits of the priorities (8
/// of float64); then one visit places those that stay. Bytes beyond those of position: 24 (32) for
/// each candidate, 8 of them written.
template <class Weight>
void plan_dispatch_by_probability(const int64_t* expert_idx, const Weight* weights,
                                  const PlanShape& shape, int64_t capacity,
                                  const PlanWorkspace& workspace, const PlanArrays& plan,
                                  cudaStream_t stream, int64_t max_blocks = kMaxBlocks);

}  // namespace moesaic::kernels::cuda
