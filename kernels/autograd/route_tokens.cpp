// Autograd of route_tokens: from the probabilities and the choices, never from the logits again.
#include <ATen/core/LegacyTypeDispatch.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include "kernels/autograd/double_backward.h"
#include "kernels/dispatched.h"

namespace moesaic::kernels {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct RouteTokens : torch::autograd::Function<RouteTokens> {
  static variable_list forward(AutogradContext* ctx, const at::Tensor& logits_TE, int64_t top_k,
                               bool softmax_before_top_k, bool norm_topk_prob) {
    at::AutoDispatchBelowADInplaceOrView guard;
    auto [expert_idx_TK, weights_TK, probs_TE, logsumexp_T] =
        dispatched::route_tokens(logits_TE, top_k, softmax_before_top_k, norm_topk_prob);
    ctx->save_for_backward({expert_idx_TK, weights_TK, probs_TE});
    ctx->saved_data["softmax_before_top_k"] = softmax_before_top_k;
    ctx->saved_data["norm_topk_prob"] = norm_topk_prob;
    ctx->saved_data["dtype"] = logits_TE.scalar_type();
    ctx->mark_non_differentiable({expert_idx_TK});
    ctx->set_materialize_grads(false);
    return {expert_idx_TK, weights_TK, probs_TE, logsumexp_T};
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    refuse_double_backward("route_tokens");
    const auto& grad_weights_TK = grads[1];
    const auto& grad_probs_TE = grads[2];
    const auto& grad_logsumexp_T = grads[3];
    if (!grad_weights_TK.defined() && !grad_probs_TE.defined() && !grad_logsumexp_T.defined()) {
      return {{}, {}, {}, {}};
    }
    at::AutoDispatchBelowADInplaceOrView guard;
    const auto saved = ctx->get_saved_variables();
    const auto as_optional = [](const at::Tensor& grad) {
      return grad.defined() ? std::make_optional(grad) : std::nullopt;
    };
    const auto grad_logits_TE = dispatched::route_tokens_backward(
        as_optional(grad_weights_TK), as_optional(grad_probs_TE), as_optional(grad_logsumexp_T),
        saved[0], saved[1], saved[2], ctx->saved_data["softmax_before_top_k"].toBool(),
        ctx->saved_data["norm_topk_prob"].toBool());
    return {grad_logits_TE.to(ctx->saved_data["dtype"].toScalarType()), {}, {}, {}};
  }
};

std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor> route_tokens_autograd(
    const at::Tensor& logits_TE, int64_t top_k, bool softmax_before_top_k, bool norm_topk_prob) {
  auto out = RouteTokens::apply(logits_TE, top_k, softmax_before_top_k, norm_topk_prob);
  return {out[0], out[1], out[2], out[3]};
}

}  // namespace
}  // namespace moesaic::kernels

TORCH_LIBRARY_IMPL(moesaic, Autograd, m) {
  m.impl("route_tokens", &moesaic::kernels::route_tokens_autograd);
}
