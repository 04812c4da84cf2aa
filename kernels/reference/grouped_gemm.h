// One matrix product an expert, in plain ATen. Differentiable by ATen's own autograd.
#pragma once

#include "kernels/ops.h"

namespace moesaic::kernels::reference {

/// See kernels::grouped_gemm.
at::Tensor grouped_gemm(const at::Tensor& rows_RI, const at::Tensor& weight_eOI,
                        const at::Tensor& num_rows_e);

}  // namespace moesaic::kernels::reference
