#include "kernels/reference/auxiliary_sums.h"

#include <ATen/Functions.h>

namespace moesaic::kernels::reference {

at::Tensor sum_probs(const at::Tensor& probs_TE, int64_t tokens_per_group) {
  const int64_t num_groups = probs_TE.size(0) / tokens_per_group;
  return probs_TE.detach()
      .to(at::kDouble)
      .reshape({num_groups, tokens_per_group, probs_TE.size(1)})
      .sum(1);
}

}  // namespace moesaic::kernels::reference
