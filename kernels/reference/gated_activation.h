// SwiGLU in plain ATen. Differentiable by ATen's own autograd.
#pragma once

#include "kernels/ops.h"

namespace moesaic::kernels::reference {

/// See kernels::gated_activation.
at::Tensor gated_activation(const at::Tensor& gate_up_R2F);

}  // namespace moesaic::kernels::reference
