#include "kernels/reference/permute_tokens.h"

namespace moesaic::kernels::reference {

at::Tensor permute_tokens(const at::Tensor& x_TD, const DispatchPlan& plan) {
  const int64_t top_k = plan.row_of_choice_TK.size(1);
  return x_TD.index_select(0, plan.source_R.floor_divide(top_k));
}

}  // namespace moesaic::kernels::reference
