#include "kernels/reference/linear_cross_entropy.h"

#include <ATen/OpMathType.h>
#include <ATen/core/Reduction.h>

namespace moesaic::kernels::reference {

at::Tensor linear_cross_entropy(const at::Tensor& x_TD, const at::Tensor& weight_VD,
                                const at::Tensor& targets_T) {
  const auto logits_TV = x_TD.mm(weight_VD.t()).to(at::toOpMathType(x_TD.scalar_type()));
  return at::cross_entropy_loss(logits_TV, targets_T, /*weight=*/{}, at::Reduction::Sum,
                                /*ignore_index=*/kIgnoredTarget);
}

}  // namespace moesaic::kernels::reference
