#include "kernels/reference/auxiliary_sums.h"

#include <ATen/Functions.h>

namespace moesaic::kernels::reference {

AuxiliarySums auxiliary_sums(const at::Tensor& probs_TE, const at::Tensor& logsumexp_T,
                             int64_t tokens_per_group) {
  const int64_t num_groups = probs_TE.size(0) / tokens_per_group;
  const auto probs = probs_TE.detach().to(at::kDouble);
  const auto squares_T = logsumexp_T.detach().to(at::kDouble).square();
  return {probs.reshape({num_groups, tokens_per_group, probs.size(1)}).sum(1),
          squares_T.reshape({num_groups, tokens_per_group}).sum(1)};
}

}  // namespace moesaic::kernels::reference
