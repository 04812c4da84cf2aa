// Autograd of linear_cross_entropy. The forward computes the gradients chunk by chunk, while the
// logits of the chunk are at hand, and the backward scales them: three matrix products instead of
// the four of a recomputation. Kept until the backward: one x_TD and one weight_VD a call.
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include "kernels/autograd/double_backward.h"
#include "kernels/dispatched.h"

namespace moesaic::kernels {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct LinearCrossEntropy : torch::autograd::Function<LinearCrossEntropy> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x_TD,
                            const at::Tensor& weight_VD, const at::Tensor& targets_T, bool x_wanted,
                            bool weight_wanted) {
    at::AutoDispatchBelowADInplaceOrView guard;
    auto [loss, grad_x_TD, grad_weight_VD] = dispatched::linear_cross_entropy_with_gradients(
        x_TD, weight_VD, targets_T, x_wanted, weight_wanted);
    ctx->save_for_backward({grad_x_TD, grad_weight_VD});
    return loss;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    refuse_double_backward("linear_cross_entropy");
    at::AutoDispatchBelowADInplaceOrView guard;
    const auto saved = ctx->get_saved_variables();
    const auto scaled = [&](const at::Tensor& gradient, size_t input) {
      return gradient.defined() && ctx->needs_input_grad(input) ? gradient.mul(grads[0])
                                                                : at::Tensor();
    };
    return {scaled(saved[0], 0), scaled(saved[1], 1), {}, {}, {}};
  }
};

at::Tensor linear_cross_entropy_autograd(const at::Tensor& x_TD, const at::Tensor& weight_VD,
                                         const at::Tensor& targets_T) {
  const bool x_wanted = at::GradMode::is_enabled() && x_TD.requires_grad();
  const bool weight_wanted = at::GradMode::is_enabled() && weight_VD.requires_grad();
  if (!x_wanted && !weight_wanted) {
    at::AutoDispatchBelowADInplaceOrView guard;
    return dispatched::linear_cross_entropy(x_TD, weight_VD, targets_T);
  }
  return LinearCrossEntropy::apply(x_TD, weight_VD, targets_T, x_wanted, weight_wanted);
}

}  // namespace
}  // namespace moesaic::kernels

TORCH_LIBRARY_IMPL(moesaic, Autograd, m) {
  m.impl("linear_cross_entropy", &moesaic::kernels::linear_cross_entropy_autograd);
}
