// Autograd of gated_activation: recomputes the sigmoid, so that only the input is kept.
#include <ATen/core/LegacyTypeDispatch.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include "kernels/autograd/double_backward.h"
#include "kernels/dispatched.h"

namespace moesaic::kernels {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct GatedActivation : torch::autograd::Function<GatedActivation> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& gate_up_R2F) {
    at::AutoDispatchBelowADInplaceOrView guard;
    ctx->save_for_backward({gate_up_R2F});
    return dispatched::gated_activation(gate_up_R2F);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    refuse_double_backward("gated_activation");
    at::AutoDispatchBelowADInplaceOrView guard;
    return {dispatched::gated_activation_backward(grads[0], ctx->get_saved_variables()[0])};
  }
};

at::Tensor gated_activation_autograd(const at::Tensor& gate_up_R2F) {
  return GatedActivation::apply(gate_up_R2F);
}

}  // namespace
}  // namespace moesaic::kernels

TORCH_LIBRARY_IMPL(moesaic, Autograd, m) {
  m.impl("gated_activation", &moesaic::kernels::gated_activation_autograd);
}
