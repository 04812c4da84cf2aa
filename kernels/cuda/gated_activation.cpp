// SwiGLU on CUDA tensors. No read on the host.
#include "kernels/cuda/gated_activation.h"

#include <ATen/Functions.h>
#include <torch/library.h>

#include "kernels/cuda/stream.h"
#include "kernels/cuda/tensor_pointers.h"

namespace moesaic::kernels::cuda {
namespace {

at::Tensor gated_activation_cuda(const at::Tensor& gate_up_R2F) {
  const OnDeviceOf device(gate_up_R2F);
  const auto gate_up = gate_up_R2F.contiguous();
  const int64_t num_rows = gate_up.size(0);
  const int64_t width = gate_up.size(1) / 2;
  const auto out_RF = at::empty({num_rows, width}, gate_up.options());
  MOESAIC_DISPATCH_ELEMENTS(gate_up.scalar_type(), "gated_activation_cuda", [&] {
    using T = DeviceElement<scalar_t>;
    gated_activation(pointer_to<T>(gate_up), num_rows, width, mutable_pointer_to<T>(out_RF),
                     device.stream());
  });
  return out_RF;
}

at::Tensor gated_activation_backward_cuda(const at::Tensor& grad_out_RF,
                                          const at::Tensor& gate_up_R2F) {
  const OnDeviceOf device(gate_up_R2F);
  const auto grad_out = grad_out_RF.contiguous();
  const auto gate_up = gate_up_R2F.contiguous();
  const auto grad_gate_up_R2F = at::empty(gate_up.sizes(), gate_up.options());
  MOESAIC_DISPATCH_ELEMENTS(gate_up.scalar_type(), "gated_activation_backward_cuda", [&] {
    using T = DeviceElement<scalar_t>;
    gated_activation_backward(pointer_to<T>(grad_out), pointer_to<T>(gate_up), gate_up.size(0),
                              gate_up.size(1) / 2, mutable_pointer_to<T>(grad_gate_up_R2F),
                              device.stream());
  });
  return grad_gate_up_R2F;
}

}  // namespace
}  // namespace moesaic::kernels::cuda

TORCH_LIBRARY_IMPL(moesaic, MOESAIC_CUDA_KEY, m) {
  m.impl("gated_activation", &moesaic::kernels::cuda::gated_activation_cuda);
  m.impl("gated_activation_backward", &moesaic::kernels::cuda::gated_activation_backward_cuda);
}
