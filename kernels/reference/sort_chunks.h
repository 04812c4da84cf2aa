// Chunks of rows into the other order, in plain ATen. Differentiable by ATen's own autograd.
#pragma once

#include "kernels/ops.h"

namespace moesaic::kernels::reference {

/// See kernels::sort_chunks.
at::Tensor sort_chunks(const at::Tensor& rows_RD, const at::Tensor& counts_AB);

}  // namespace moesaic::kernels::reference
