// Weighted sum back in token order, in plain ATen. Differentiable by ATen's own autograd.
#pragma once

#include "kernels/ops.h"

namespace moesaic::kernels::reference {

/// See kernels::unpermute_tokens.
at::Tensor unpermute_tokens(const at::Tensor& rows_RD, const at::Tensor& weights_TK,
                            const DispatchPlan& plan);

}  // namespace moesaic::kernels::reference
