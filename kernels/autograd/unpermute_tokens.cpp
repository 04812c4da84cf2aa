// Autograd of unpermute_tokens: the rows' gradients and the gate gradient in one pass.
#include <ATen/core/LegacyTypeDispatch.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include "kernels/autograd/double_backward.h"
#include "kernels/dispatched.h"

namespace moesaic::kernels {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct UnpermuteTokens : torch::autograd::Function<UnpermuteTokens> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& rows_RD,
                            const at::Tensor& weights_TK, const at::Tensor& row_of_choice_TK) {
    at::AutoDispatchBelowADInplaceOrView guard;
    ctx->save_for_backward({rows_RD, weights_TK, row_of_choice_TK});
    return dispatched::unpermute_tokens(rows_RD, weights_TK, row_of_choice_TK);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    refuse_double_backward("unpermute_tokens");
    at::AutoDispatchBelowADInplaceOrView guard;
    const auto saved = ctx->get_saved_variables();
    auto [grad_rows_RD, grad_weights_TK] = dispatched::unpermute_tokens_backward(
        grads[0], saved[0], saved[1], saved[2], /*rows_wanted=*/ctx->needs_input_grad(0),
        /*weights_wanted=*/ctx->needs_input_grad(1));
    return {grad_rows_RD, grad_weights_TK, {}};
  }
};

at::Tensor unpermute_tokens_autograd(const at::Tensor& rows_RD,
                                     const std::optional<at::Tensor>& weights_TK,
                                     const at::Tensor& row_of_choice_TK) {
  TORCH_CHECK(weights_TK.has_value(), "unpermute_tokens: not differentiable without weights_TK");
  return UnpermuteTokens::apply(rows_RD, *weights_TK, row_of_choice_TK);
}

}  // namespace
}  // namespace moesaic::kernels

TORCH_LIBRARY_IMPL(moesaic, Autograd, m) {
  m.impl("unpermute_tokens", &moesaic::kernels::unpermute_tokens_autograd);
}
