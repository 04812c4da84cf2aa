// Weighted sum back in token order on CUDA tensors. One read on the host in the forward: whether
// the plan names a row that is not there. None in the backward, which has the forward's plan.
#include "kernels/cuda/unpermute_tokens.h"

#include <ATen/Functions.h>
#include <torch/library.h>

#include <optional>

#include "kernels/cuda/foreign_row_flag.h"
#include "kernels/cuda/stream.h"
#include "kernels/cuda/tensor_pointers.h"

namespace moesaic::kernels::cuda {
namespace {

at::Tensor unpermute_tokens_cuda(const at::Tensor& rows_RD,
                                 const std::optional<at::Tensor>& weights_TK,
                                 const at::Tensor& row_of_choice_TK) {
  const OnDeviceOf device(rows_RD);
  const auto rows = rows_RD.contiguous();
  const auto weights = weights_TK.has_value() ? weights_TK->contiguous() : at::Tensor();
  const auto row_of_choice = row_of_choice_TK.contiguous();
  const int64_t num_tokens = row_of_choice.size(0);
  const auto out_TD = at::empty({num_tokens, rows.size(1)}, rows.options());
  const ForeignRowFlag foreign_row(rows.options());
  MOESAIC_DISPATCH_ELEMENTS(rows.scalar_type(), "unpermute_tokens_cuda", [&] {
    using T = DeviceElement<scalar_t>;
    unpermute_tokens(pointer_to<T>(rows), pointer_to<Accumulate<T>>(weights),
                     pointer_to<int64_t>(row_of_choice), num_tokens, row_of_choice.size(1),
                     rows.size(0), rows.size(1), mutable_pointer_to<T>(out_TD),
                     foreign_row.pointer(), device.stream());
  });
  foreign_row.check("unpermute_tokens", rows.size(0));
  return out_TD;
}

std::tuple<at::Tensor, at::Tensor> unpermute_tokens_backward_cuda(
    const at::Tensor& grad_out_TD, const at::Tensor& rows_RD, const at::Tensor& weights_TK,
    const at::Tensor& row_of_choice_TK, bool rows_wanted, bool weights_wanted) {
  const OnDeviceOf device(rows_RD);
  const auto grad_out = grad_out_TD.contiguous();
  const auto rows = weights_wanted ? rows_RD.contiguous() : at::Tensor();
  const auto weights = weights_TK.contiguous();
  const auto row_of_choice = row_of_choice_TK.contiguous();
  const auto grad_rows_RD =
      rows_wanted ? at::empty(rows_RD.sizes(), rows_RD.options()) : at::Tensor();
  const auto grad_weights_TK =
      weights_wanted ? at::empty(weights.sizes(), weights.options()) : at::Tensor();
  MOESAIC_DISPATCH_ELEMENTS(rows_RD.scalar_type(), "unpermute_tokens_backward_cuda", [&] {
    using T = DeviceElement<scalar_t>;
    unpermute_tokens_backward(
        pointer_to<T>(grad_out), pointer_to<T>(rows), pointer_to<Accumulate<T>>(weights),
        pointer_to<int64_t>(row_of_choice), row_of_choice.size(0), row_of_choice.size(1),
        rows_RD.size(0), rows_RD.size(1), mutable_pointer_to<T>(grad_rows_RD),
        mutable_pointer_to<Accumulate<T>>(grad_weights_TK), /*foreign_row=*/nullptr,
        device.stream());
  });
  return {grad_rows_RD, grad_weights_TK};
}

}  // namespace
}  // namespace moesaic::kernels::cuda

TORCH_LIBRARY_IMPL(moesaic, MOESAIC_CUDA_KEY, m) {
  m.impl("unpermute_tokens", &moesaic::kernels::cuda::unpermute_tokens_cuda);
  m.impl("unpermute_tokens_backward", &moesaic::kernels::cuda::unpermute_tokens_backward_cuda);
}
