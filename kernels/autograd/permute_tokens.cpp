// Autograd of permute_tokens: the gradient of a token is the sum of those of its copies.
#include <ATen/core/LegacyTypeDispatch.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include "kernels/autograd/double_backward.h"
#include "kernels/dispatched.h"

namespace moesaic::kernels {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct PermuteTokens : torch::autograd::Function<PermuteTokens> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x_TD,
                            const at::Tensor& source_R, const at::Tensor& row_of_choice_TK) {
    at::AutoDispatchBelowADInplaceOrView guard;
    ctx->save_for_backward({row_of_choice_TK});
    return dispatched::permute_tokens(x_TD, source_R, row_of_choice_TK);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    refuse_double_backward("permute_tokens");
    at::AutoDispatchBelowADInplaceOrView guard;
    const auto saved = ctx->get_saved_variables();
    return {dispatched::unpermute_tokens(grads[0], /*weights_TK=*/std::nullopt, saved[0]), {}, {}};
  }
};

at::Tensor permute_tokens_autograd(const at::Tensor& x_TD, const at::Tensor& source_R,
                                   const at::Tensor& row_of_choice_TK) {
  return PermuteTokens::apply(x_TD, source_R, row_of_choice_TK);
}

}  // namespace
}  // namespace moesaic::kernels

TORCH_LIBRARY_IMPL(moesaic, Autograd, m) {
  m.impl("permute_tokens", &moesaic::kernels::permute_tokens_autograd);
}
