// The operators as the dispatcher knows them: one function a schema of ops.cpp, tensors and numbers
// only, no checks. ops.cpp and autograd/ call these; everybody else calls kernels/ops.h.
//
// Shape letters: kernels/ops.h.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <tuple>

namespace moesaic::kernels::dispatched {

/// Returns expert_idx_TK, weights_TK, probs_TE, logsumexp_T.
std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor> route_tokens(const at::Tensor& logits_TE,
                                                                        int64_t top_k,
                                                                        bool softmax_before_top_k,
                                                                        bool norm_topk_prob);

/// Gradient of the logits in the dtype of probs_TE; an absent gradient counts as zero.
at::Tensor route_tokens_backward(const std::optional<at::Tensor>& grad_weights_TK,
                                 const std::optional<at::Tensor>& grad_probs_TE,
                                 const std::optional<at::Tensor>& grad_logsumexp_T,
                                 const at::Tensor& expert_idx_TK, const at::Tensor& weights_TK,
                                 const at::Tensor& probs_TE, bool softmax_before_top_k,
                                 bool norm_topk_prob);

/// Returns source_R, row_of_choice_TK, counts_GE, num_rows_E.
std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor> plan_dispatch(
    const at::Tensor& expert_idx_TK, const at::Tensor& weights_TK, int64_t num_experts,
    int64_t tokens_per_group, std::optional<int64_t> capacity, bool drop_by_probability);

at::Tensor count_choices(const at::Tensor& expert_idx_TK, int64_t num_experts,
                         int64_t tokens_per_group);

/// Returns prob_sums_GE, logsumexp_squares_G.
std::tuple<at::Tensor, at::Tensor> auxiliary_sums(const at::Tensor& probs_TE,
                                                  const at::Tensor& logsumexp_T,
                                                  int64_t tokens_per_group);

at::Tensor permute_tokens(const at::Tensor& x_TD, const at::Tensor& source_R,
                          const at::Tensor& row_of_choice_TK);

/// Without weights_TK a plain sum over the choices of a token: the backward of permute_tokens.
at::Tensor unpermute_tokens(const at::Tensor& rows_RD, const std::optional<at::Tensor>& weights_TK,
                            const at::Tensor& row_of_choice_TK);

/// Gradients of rows_RD and of weights_TK; one that is not wanted comes back undefined.
std::tuple<at::Tensor, at::Tensor> unpermute_tokens_backward(const at::Tensor& grad_out_TD,
                                                             const at::Tensor& rows_RD,
                                                             const at::Tensor& weights_TK,
                                                             const at::Tensor& row_of_choice_TK,
                                                             bool rows_wanted, bool weights_wanted);

/// The backward is sort_chunks(grad_sorted_RD, counts_AB.t()).
at::Tensor sort_chunks(const at::Tensor& rows_RD, const at::Tensor& counts_AB);

/// The data gradient is grouped_gemm(grad_out_RO, weight_eOI.transpose(1, 2), num_rows_e).
at::Tensor grouped_gemm(const at::Tensor& rows_RI, const at::Tensor& weight_eOI,
                        const at::Tensor& num_rows_e,
                        const std::optional<at::Tensor>& weight_gradient_destination_eOI);

at::Tensor grouped_gemm_weight_gradient(const at::Tensor& grad_out_RO, const at::Tensor& rows_RI,
                                        const at::Tensor& num_rows_e);

void grouped_gemm_weight_gradient_(at::Tensor& destination_eOI, const at::Tensor& grad_out_RO,
                                   const at::Tensor& rows_RI, const at::Tensor& num_rows_e);

at::Tensor gated_activation(const at::Tensor& gate_up_R2F);

at::Tensor gated_activation_backward(const at::Tensor& grad_out_RF, const at::Tensor& gate_up_R2F);

at::Tensor linear_cross_entropy(const at::Tensor& x_TD, const at::Tensor& weight_VD,
                                const at::Tensor& targets_T);

/// The loss with its gradients in x_TD and weight_VD; one that is not wanted comes back undefined.
std::tuple<at::Tensor, at::Tensor, at::Tensor> linear_cross_entropy_with_gradients(
    const at::Tensor& x_TD, const at::Tensor& weight_VD, const at::Tensor& targets_T, bool x_wanted,
    bool weight_wanted);

}  // namespace moesaic::kernels::dispatched
