// kernels::auxiliary_sums in plain ATen, the executable specification.
#pragma once

#include "kernels/ops.h"

namespace moesaic::kernels::reference {

/// See kernels::auxiliary_sums.
AuxiliarySums auxiliary_sums(const at::Tensor& probs_TE, const at::Tensor& logsumexp_T,
                             int64_t tokens_per_group);

}  // namespace moesaic::kernels::reference
