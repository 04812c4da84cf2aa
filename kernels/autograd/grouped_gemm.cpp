// Autograd of grouped_gemm. The weight gradient goes to autograd, or straight into a destination
// that the caller named; then autograd sees none for the weight.
#include <ATen/core/LegacyTypeDispatch.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include "kernels/autograd/double_backward.h"
#include "kernels/dispatched.h"

namespace moesaic::kernels {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct GroupedGemm : torch::autograd::Function<GroupedGemm> {
  // The destination comes as an IValue: autograd must neither track it nor compare its version,
  // which every earlier backward that adds to it moves on.
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& rows_RI,
                            const at::Tensor& weight_eOI, const at::Tensor& num_rows_e,
                            const c10::IValue& destination_eOI) {
    at::AutoDispatchBelowADInplaceOrView guard;
    ctx->save_for_backward({rows_RI, weight_eOI, num_rows_e});
    ctx->saved_data["destination"] = destination_eOI;
    return dispatched::grouped_gemm(rows_RI, weight_eOI, num_rows_e, std::nullopt);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    refuse_double_backward("grouped_gemm");
    at::AutoDispatchBelowADInplaceOrView guard;
    const auto saved = ctx->get_saved_variables();
    const auto& rows_RI = saved[0];
    const auto& num_rows_e = saved[2];
    at::Tensor grad_rows_RI;
    at::Tensor grad_weight_eOI;
    if (ctx->needs_input_grad(0)) {
      grad_rows_RI =
          dispatched::grouped_gemm(grads[0], saved[1].transpose(1, 2), num_rows_e, std::nullopt);
    }
    if (ctx->needs_input_grad(1)) {
      const auto& destination = ctx->saved_data["destination"];
      if (destination.isTensor()) {
        auto destination_eOI = destination.toTensor();
        dispatched::grouped_gemm_weight_gradient_(destination_eOI, grads[0], rows_RI, num_rows_e);
      } else {
        grad_weight_eOI = dispatched::grouped_gemm_weight_gradient(grads[0], rows_RI, num_rows_e);
      }
    }
    return {grad_rows_RI, grad_weight_eOI, {}, {}};
  }
};

at::Tensor grouped_gemm_autograd(const at::Tensor& rows_RI, const at::Tensor& weight_eOI,
                                 const at::Tensor& num_rows_e,
                                 const std::optional<at::Tensor>& destination_eOI) {
  return GroupedGemm::apply(rows_RI, weight_eOI, num_rows_e, c10::IValue(destination_eOI));
}

}  // namespace
}  // namespace moesaic::kernels

TORCH_LIBRARY_IMPL(moesaic, Autograd, m) {
  m.impl("grouped_gemm", &moesaic::kernels::grouped_gemm_autograd);
}
