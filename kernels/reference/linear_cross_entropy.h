// Head and loss with all [T, V] logits at once, in plain ATen. Differentiable by ATen's own
// autograd.
#pragma once

#include "kernels/ops.h"

namespace moesaic::kernels::reference {

/// See kernels::linear_cross_entropy.
at::Tensor linear_cross_entropy(const at::Tensor& x_TD, const at::Tensor& weight_VD,
                                const at::Tensor& targets_T);

}  // namespace moesaic::kernels::reference
