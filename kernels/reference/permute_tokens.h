// Token rows into expert order, in plain ATen. Differentiable by ATen's own autograd.
#pragma once

#include "kernels/ops.h"

namespace moesaic::kernels::reference {

/// See kernels::permute_tokens.
at::Tensor permute_tokens(const at::Tensor& x_TD, const DispatchPlan& plan);

}  // namespace moesaic::kernels::reference
