// The operators of moesaic on one device. They know tensors; they know no rank and no model.
//
// Shape letters: T tokens, D model width, F expert width, E experts, K choices a token (top-k),
// R rows (kept choices), G capacity groups, V vocabulary.
//
// Every operator is registered once in ops.cpp (TORCH_LIBRARY moesaic) and implemented under the
// same file stem in reference/ (plain ATen, the executable specification), cpu/ (where it pays) and
// autograd/. "max(float32, dtype)" below: float64 stays float64, all else accumulates in float32.
// A second derivative (create_graph) is refused by every backward.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

namespace moesaic::kernels {

/// How router scores become choices.
struct RouteOptions {
  int64_t top_k = 1;
  /// true: weights are the softmax over all experts, taken at the chosen ones (OLMoE, Mixtral).
  /// false: the softmax is taken over the chosen logits only (GPT-OSS); they then sum to one.
  bool softmax_before_top_k = true;
  /// Divide the chosen weights by their sum. Changes nothing after a softmax over the chosen
  /// logits.
  bool norm_topk_prob = false;
};

/// What route_tokens returns.
struct RoutedTokens {
  at::Tensor expert_idx_TK;  ///< int64, the chosen experts, best first; ties to the lowest id
  at::Tensor weights_TK;     ///< max(float32, dtype), differentiable
  at::Tensor probs_TE;       ///< softmax over all experts, differentiable: for balance terms
  at::Tensor logsumexp_T;    ///< log(sum(exp(logits))), differentiable: for the router z-loss
};

/// Chooses top_k experts a token.
///   logits_TE  [T, E] floating point; computed in max(float32, dtype)
/// The choice is by logits, so rounding in the softmax can neither make ties nor swap experts; NaN
/// ranks first, and the ids are valid whatever the logits.
/// Throws c10::Error for top_k outside [1, E], and for top_k == 1 with softmax after top-k or with
/// norm_topk_prob (unless E == 1), whose weights are constant one and carry no gradient.
/// Differentiable in logits_TE through weights_TK, probs_TE and logsumexp_T.
RoutedTokens route_tokens(const at::Tensor& logits_TE, const RouteOptions& options);

/// Which choices a full expert keeps.
enum class DropPolicy {
  kPosition,     ///< earlier tokens win
  kProbability,  ///< larger weights win, ties to the earlier token
};

/// The limit on choices per expert and group; capacity is not limited when `factor` is absent.
struct CapacityOptions {
  /// C = ceil(factor * tokens_per_group * K / E) choices per expert and group (GShard, 2006.16668).
  std::optional<double> factor;
  DropPolicy policy = DropPolicy::kPosition;
};

/// Where every choice goes: a contiguous run of rows for each expert, in token order within a run.
struct DispatchPlan {
  at::Tensor source_R;          ///< int64: token * K + choice of each row
  at::Tensor row_of_choice_TK;  ///< int64: the row of each choice, -1 where it was dropped
  at::Tensor counts_GE;         ///< int64 [groups, E]: choices before dropping
  at::Tensor num_rows_E;        ///< int64, on the CPU: rows (choices kept) per expert, run lengths
};

/// ceil(factor * tokens_per_group * top_k / num_experts): exact for factors that decimal text can
/// write (a product that is an integer up to rounding error is that integer).
int64_t expert_capacity(double factor, int64_t tokens_per_group, int64_t top_k,
                        int64_t num_experts);

/// Plans the dispatch of T tokens in groups of `tokens_per_group` consecutive tokens.
///   expert_idx_TK  int64 [T, K], each in [0, E)
///   weights_TK     [T, K]; read only by DropPolicy::kProbability
/// T must be a multiple of tokens_per_group (T = 0 is allowed, and then tokens_per_group = 0 too:
/// no group). Throws c10::Error for an id outside [0, E). Integers only: the same result on every
/// device and for any number of threads. Not differentiable. Cost: O(T K + G E); on a GPU the host
/// waits for num_rows_E.
DispatchPlan plan_dispatch(const at::Tensor& expert_idx_TK, const at::Tensor& weights_TK,
                           int64_t num_experts, int64_t tokens_per_group,
                           const CapacityOptions& capacity);

/// Choices of each expert in each group of `tokens_per_group` consecutive tokens, before dropping:
/// counts_GE of a plan with these groups, for the balance loss, whose groups are its own.
///   expert_idx_TK  int64 [T, K], T a multiple of tokens_per_group >= 1
/// Returns int64 [G, E]. Throws c10::Error for an id outside [0, E); the CUDA kernel, for which the
/// host does not wait, does not count it (plan_dispatch refuses it). Cost: O(T K + G E).
at::Tensor count_choices(const at::Tensor& expert_idx_TK, int64_t num_experts,
                         int64_t tokens_per_group);

/// What auxiliary_sums returns, in float64.
struct AuxiliarySums {
  at::Tensor prob_sums_GE;         ///< [G, E] sum of probs_TE
  at::Tensor logsumexp_squares_G;  ///< [G] sum of logsumexp_T squared
};

/// Sums over the tokens of each group of `tokens_per_group` consecutive tokens: what the values of
/// the balance loss and of the router z-loss need of a micro-batch.
///   probs_TE     [T, E] float32 or float64, T a multiple of tokens_per_group >= 1
///   logsumexp_T  [T], dtype of probs_TE
/// Added in float64. Not recorded by autograd.
AuxiliarySums auxiliary_sums(const at::Tensor& probs_TE, const at::Tensor& logsumexp_T,
                             int64_t tokens_per_group);

/// Gathers token rows into expert order: row r of the result is x_TD[source_R[r] / K].
/// Bitwise equal to the reference on every device. Differentiable in x_TD: the backward sums the
/// copies of a token over k in ascending order, in max(float32, dtype). Returns rows_RD [R, D].
at::Tensor permute_tokens(const at::Tensor& x_TD, const DispatchPlan& plan);

/// Weighted sum back in token order: out[t] = sum over k of weights_TK[t, k] * rows[row_of(t, k)],
/// k ascending, in max(float32, dtype), result in the dtype of rows_RD. Dropped choices contribute
/// nothing, forward and backward. Each row is written once. Differentiable in rows_RD and
/// weights_TK (the gate gradient; exactly zero for dropped choices). Returns out_TD [T, D].
///   weights_TK  [T, K] in max(float32, dtype of rows_RD)
at::Tensor unpermute_tokens(const at::Tensor& rows_RD, const at::Tensor& weights_TK,
                            const DispatchPlan& plan);

/// Chunks of rows into the other order: rows_RD holds counts_AB[a, b] rows for each (a, b), b
/// fastest; the result holds the same runs of rows with a fastest. So rows that arrive by (rank,
/// expert) come by (expert, rank); the way back is the call with counts_AB.t().
///   counts_AB  int64 [A, B] on the CPU, sums to R; zeros are allowed
/// Bitwise equal to the reference on every device. Differentiable in rows_RD. Returns [R, D].
at::Tensor sort_chunks(const at::Tensor& rows_RD, const at::Tensor& counts_AB);

/// rows of expert e times weight_eOI[e] transposed: y[r] = weight_eOI[e] @ rows[r].
///   rows_RI     [R, I], runs of rows expert after expert
///   weight_eOI  [e, O, I], `nn.Linear` orientation, dtype of rows_RI
///   num_rows_e  int64 [e] on the CPU, sums to R; zeros are allowed
///   weight_gradient_destination_eOI  where the backward adds the weight gradient (say the slice of
///               the flat main gradient), in the dtype of rows_RI or in max(float32, dtype)
/// Differentiable in both; an expert without rows has a gradient of exactly zero. Returns [R, O].
/// HAZARD: with a destination autograd gets an undefined gradient for weight_eOI. Its
/// post-accumulate hook runs all the same, after the destination was written; hooks that read the
/// gradient passed along (register_hook) see none, and `.grad` changes only if it is the
/// destination or a view of it. A second backward (retain_graph) adds a second time.
at::Tensor grouped_gemm(
    const at::Tensor& rows_RI, const at::Tensor& weight_eOI, const at::Tensor& num_rows_e,
    const std::optional<at::Tensor>& weight_gradient_destination_eOI = std::nullopt);

/// destination_eOI[e] += grad_out[rows of e] transposed @ rows[rows of e]; an expert without rows
/// is not touched. Not recorded by autograd.
///   destination_eOI  [e, O, I], dtype of rows_RI or max(float32, dtype)
///   grad_out_RO      [R, O], dtype of rows_RI
void grouped_gemm_weight_gradient_(const at::Tensor& destination_eOI, const at::Tensor& grad_out_RO,
                                   const at::Tensor& rows_RI, const at::Tensor& num_rows_e);

/// SwiGLU (2002.05202, eq. 6): silu(gate) * up, where gate_up_R2F = [gate | up] along the last
/// dimension. Differentiable. Returns [R, F].
at::Tensor gated_activation(const at::Tensor& gate_up_R2F);

/// A target that linear_cross_entropy does not count: Hugging Face's ignore_index.
inline constexpr int64_t kIgnoredTarget = -100;

/// Language-model head and loss in chunks of tokens: [T, V] logits never exist at once.
///   x_TD        [T, D]
///   weight_VD   [V, D] the head
///   targets_T   int64; kIgnoredTarget is not counted
/// Returns the *sum* over counted targets of -log softmax(x @ weight^T)[target], a scalar in
/// max(float32, dtype). Differentiable in x_TD and weight_VD. Throws c10::Error for a target
/// outside [0, V) other than kIgnoredTarget.
/// Cost: three matrix products, all in the forward, which keeps both gradients until the backward
/// scales them: one x_TD and one weight_VD a call. Without gradients one product and no such
/// memory.
at::Tensor linear_cross_entropy(const at::Tensor& x_TD, const at::Tensor& weight_VD,
                                const at::Tensor& targets_T);

}  // namespace moesaic::kernels
