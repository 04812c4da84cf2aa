#include "kernels/dispatched.h"

#include <ATen/core/dispatch/Dispatcher.h>

namespace moesaic::kernels::dispatched {
namespace {

template <class Function>
auto find_operator(const char* name) {
  return c10::Dispatcher::singleton()
      .findSchemaOrThrow(name, /*overload_name=*/"")
      .typed<Function>();
}

}  // namespace

// The handle of an operator is looked up at its first call and kept.

std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor> route_tokens(const at::Tensor& logits_TE,
                                                                        int64_t top_k,
                                                                        bool softmax_before_top_k,
                                                                        bool norm_topk_prob) {
  static const auto op = find_operator<decltype(route_tokens)>("moesaic::route_tokens");
  return op.call(logits_TE, top_k, softmax_before_top_k, norm_topk_prob);
}

at::Tensor route_tokens_backward(const std::optional<at::Tensor>& grad_weights_TK,
                                 const std::optional<at::Tensor>& grad_probs_TE,
                                 const std::optional<at::Tensor>& grad_logsumexp_T,
                                 const at::Tensor& expert_idx_TK, const at::Tensor& weights_TK,
                                 const at::Tensor& probs_TE, bool softmax_before_top_k,
                                 bool norm_topk_prob) {
  static const auto op =
      find_operator<decltype(route_tokens_backward)>("moesaic::route_tokens_backward");
  return op.call(grad_weights_TK, grad_probs_TE, grad_logsumexp_T, expert_idx_TK, weights_TK,
                 probs_TE, softmax_before_top_k, norm_topk_prob);
}

std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor> plan_dispatch(
    const at::Tensor& expert_idx_TK, const at::Tensor& weights_TK, int64_t num_experts,
    int64_t tokens_per_group, std::optional<int64_t> capacity, bool drop_by_probability) {
  static const auto op = find_operator<decltype(plan_dispatch)>("moesaic::plan_dispatch");
  return op.call(expert_idx_TK, weights_TK, num_experts, tokens_per_group, capacity,
                 drop_by_probability);
}

at::Tensor count_choices(const at::Tensor& expert_idx_TK, int64_t num_experts,
                         int64_t tokens_per_group) {
  static const auto op = find_operator<decltype(count_choices)>("moesaic::count_choices");
  return op.call(expert_idx_TK, num_experts, tokens_per_group);
}

std::tuple<at::Tensor, at::Tensor> auxiliary_sums(const at::Tensor& probs_TE,
                                                  const at::Tensor& logsumexp_T,
                                                  int64_t tokens_per_group) {
  static const auto op = find_operator<decltype(auxiliary_sums)>("moesaic::auxiliary_sums");
  return op.call(probs_TE, logsumexp_T, tokens_per_group);
}

at::Tensor permute_tokens(const at::Tensor& x_TD, const at::Tensor& source_R,
                          const at::Tensor& row_of_choice_TK) {
  static const auto op = find_operator<decltype(permute_tokens)>("moesaic::permute_tokens");
  return op.call(x_TD, source_R, row_of_choice_TK);
}

at::Tensor unpermute_tokens(const at::Tensor& rows_RD, const std::optional<at::Tensor>& weights_TK,
                            const at::Tensor& row_of_choice_TK) {
  static const auto op = find_operator<decltype(unpermute_tokens)>("moesaic::unpermute_tokens");
  return op.call(rows_RD, weights_TK, row_of_choice_TK);
}

std::tuple<at::Tensor, at::Tensor> unpermute_tokens_backward(
    const at::Tensor& grad_out_TD, const at::Tensor& rows_RD, const at::Tensor& weights_TK,
    const at::Tensor& row_of_choice_TK, bool rows_wanted, bool weights_wanted) {
  static const auto op =
      find_operator<decltype(unpermute_tokens_backward)>("moesaic::unpermute_tokens_backward");
  return op.call(grad_out_TD, rows_RD, weights_TK, row_of_choice_TK, rows_wanted, weights_wanted);
}

at::Tensor sort_chunks(const at::Tensor& rows_RD, const at::Tensor& counts_AB) {
  static const auto op = find_operator<decltype(sort_chunks)>("moesaic::sort_chunks");
  return op.call(rows_RD, counts_AB);
}

at::Tensor grouped_gemm(const at::Tensor& rows_RI, const at::Tensor& weight_eOI,
                        const at::Tensor& num_rows_e,
                        const std::optional<at::Tensor>& weight_gradient_destination_eOI) {
  static const auto op = find_operator<decltype(grouped_gemm)>("moesaic::grouped_gemm");
  return op.call(rows_RI, weight_eOI, num_rows_e, weight_gradient_destination_eOI);
}

at::Tensor grouped_gemm_weight_gradient(const at::Tensor& grad_out_RO, const at::Tensor& rows_RI,
                                        const at::Tensor& num_rows_e) {
  static const auto op = find_operator<decltype(grouped_gemm_weight_gradient)>(
      "moesaic::grouped_gemm_weight_gradient");
  return op.call(grad_out_RO, rows_RI, num_rows_e);
}

void grouped_gemm_weight_gradient_(at::Tensor& destination_eOI, const at::Tensor& grad_out_RO,
                                   const at::Tensor& rows_RI, const at::Tensor& num_rows_e) {
  static const auto op = find_operator<decltype(grouped_gemm_weight_gradient_)>(
      "moesaic::grouped_gemm_weight_gradient_");
  op.call(destination_eOI, grad_out_RO, rows_RI, num_rows_e);
}

at::Tensor gated_activation(const at::Tensor& gate_up_R2F) {
  static const auto op = find_operator<decltype(gated_activation)>("moesaic::gated_activation");
  return op.call(gate_up_R2F);
}

at::Tensor gated_activation_backward(const at::Tensor& grad_out_RF, const at::Tensor& gate_up_R2F) {
  static const auto op =
      find_operator<decltype(gated_activation_backward)>("moesaic::gated_activation_backward");
  return op.call(grad_out_RF, gate_up_R2F);
}

at::Tensor linear_cross_entropy(const at::Tensor& x_TD, const at::Tensor& weight_VD,
                                const at::Tensor& targets_T) {
  static const auto op =
      find_operator<decltype(linear_cross_entropy)>("moesaic::linear_cross_entropy");
  return op.call(x_TD, weight_VD, targets_T);
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> linear_cross_entropy_with_gradients(
    const at::Tensor& x_TD, const at::Tensor& weight_VD, const at::Tensor& targets_T, bool x_wanted,
    bool weight_wanted) {
  static const auto op = find_operator<decltype(linear_cross_entropy_with_gradients)>(
      "moesaic::linear_cross_entropy_with_gradients");
  return op.call(x_TD, weight_VD, targets_T, x_wanted, weight_wanted);
}

}  // namespace moesaic::kernels::dispatched
