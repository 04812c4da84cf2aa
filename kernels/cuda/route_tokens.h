// Routing on the GPU, a warp a token: choice, weights and probabilities in one visit of the logits,
// and their backward. Plain pointers; shape letters of kernels/ops.h.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/cuda/accumulate.h"
#include "kernels/cuda/grid.h"

namespace moesaic::kernels::cuda {

/// The sizes of a call and what is done with the scores: kernels::RouteOptions.
struct RouteShape {
  int64_t num_tokens = 0;
  int64_t num_experts = 0;  ///< >= 1, below 2^31
  int64_t top_k = 1;        ///< in [1, num_experts]
  bool softmax_before_top_k = true;
  bool norm_topk_prob = false;
};

/// See kernels::route_tokens. All arrays are contiguous and on the device.
///   logits_TE      [T, E]
///   expert_idx_TK  [T, K], the chosen experts, best first: greater logit, then lower id; NaN is
///                  greater than every number, so that the ids are valid whatever the logits
///   weights_TK     [T, K]
///   probs_TE       [T, E]
///   logsumexp_T    [T] log(sum(exp(logits))), for the router z-loss; may be null
///   nan_found      [1] becomes 1 where a probability is NaN: a NaN logit, an infinite one, or
///                  nothing but -infinity. Never cleared here
/// A token is the work of one warp, so grid size changes no bit.
/// T: float, double, __nv_bfloat16, __half. Bytes: T E (sizeof(T) + sizeof(Accumulate<T>)) +
/// T K (8 + sizeof(Accumulate<T>)) up to 1024 experts, which stay in registers; the logits of more
/// are read K + 1 times more, from the caches.
/// Throws std::invalid_argument for impossible sizes and std::runtime_error where a launch fails.
template <class T>
void route_tokens(const T* logits_TE, const RouteShape& shape, int64_t* expert_idx_TK,
                  Accumulate<T>* weights_TK, Accumulate<T>* probs_TE, Accumulate<T>* logsumexp_T,
                  int32_t* nan_found, cudaStream_t stream, int64_t max_blocks = kMaxBlocks);

/// The gradient in the logits. Each of the three incoming gradients may be null: zero.
///   grad_weights_TK    [T, K]
///   grad_probs_TE      [T, E]
///   grad_logsumexp_T   [T]
///   expert_idx_TK, weights_TK, probs_TE  of the forward; the ids of a token differ
///   grad_logits_TE     [T, E], written
/// Value: float, double. Bytes: T E sizeof(Value) * (2 + 1 with grad_probs_TE) and T K terms.
template <class Value>
void route_tokens_backward(const Value* grad_weights_TK, const Value* grad_probs_TE,
                           const Value* grad_logsumexp_T, const int64_t* expert_idx_TK,
                           const Value* weights_TK, const Value* probs_TE, const RouteShape& shape,
                           Value* grad_logits_TE, cudaStream_t stream,
                           int64_t max_blocks = kMaxBlocks);

}  // namespace moesaic::kernels::cuda
