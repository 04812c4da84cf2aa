// kernels::sum_probs in plain ATen, the executable specification.
#pragma once

#include "kernels/ops.h"

namespace moesaic::kernels::reference {

at::Tensor sum_probs(const at::Tensor& probs_TE, int64_t tokens_per_group);

}  // namespace moesaic::kernels::reference
