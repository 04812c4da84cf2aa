// What the auxiliary terms of the router need of a micro-batch, in sums of a fixed order.
// Plain pointers; shape letters of kernels/ops.h.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/cuda/grid.h"

namespace moesaic::kernels::cuda {

/// Tokens whose terms one block adds up; part of the order of the sums.
inline constexpr int64_t kTokensPerPartial = 512;

/// Groups of tokens_per_group consecutive tokens.
struct TokenGroups {
  int64_t num_groups = 0;
  int64_t tokens_per_group = 0;
  int64_t num_experts = 0;  ///< >= 1

  /// Partial sums of a group.
  int64_t partials_per_group() const {
    return (tokens_per_group + kTokensPerPartial - 1) / kTokensPerPartial;
  }
  /// Elements of the workspace of auxiliary_sums.
  int64_t num_partials() const;
};

/// The sums over the tokens of each group from which the load-balance loss and the router z-loss
/// follow (moe/load_balance.h): a group's balance loss is a multiple of sum_e counts_GE[g, e] *
/// prob_sums_GE[g, e], with the counts of count_choices.
///   probs_TE                [T, E] of route_tokens, T = num_groups * tokens_per_group
///   logsumexp_T             [T] of route_tokens; not read without logsumexp_squares_G
///   partials                workspace, groups.num_partials() elements
///   prob_sums_GE            [G, E], float64
///   logsumexp_squares_G     [G], float64: sum of squares; may be null
/// float64 sums, per group in runs of kTokensPerPartial tokens: grid size changes no bit.
/// Value: float, double. Bytes: T E sizeof(Value) and 24 G E a run.
template <class Value>
void auxiliary_sums(const Value* probs_TE, const Value* logsumexp_T, const TokenGroups& groups,
                    double* partials, double* prob_sums_GE, double* logsumexp_squares_G,
                    cudaStream_t stream, int64_t max_blocks = kMaxBlocks);

}  // namespace moesaic::kernels::cuda
