#include "kernels/reference/unpermute_tokens.h"

#include <ATen/TensorOperators.h>

namespace moesaic::kernels::reference {

at::Tensor unpermute_tokens(const at::Tensor& rows_RD, const at::Tensor& weights_TK,
                            const DispatchPlan& plan) {
  const auto& row_of_choice_TK = plan.row_of_choice_TK;
  auto out_TD = at::zeros({row_of_choice_TK.size(0), rows_RD.size(1)}, weights_TK.options());
  for (int64_t k = 0; k < row_of_choice_TK.size(1); ++k) {
    const auto row_T = row_of_choice_TK.select(1, k);
    const auto kept_t = at::nonzero(row_T >= 0).squeeze(1);
    const auto rows_tD = rows_RD.index_select(0, row_T.index_select(0, kept_t));
    const auto weights_t1 = weights_TK.select(1, k).index_select(0, kept_t).unsqueeze(1);
    out_TD = out_TD.index_add(0, kept_t, weights_t1 * rows_tD.to(weights_TK.scalar_type()));
  }
  return out_TD.to(rows_RD.scalar_type());
}

}  // namespace moesaic::kernels::reference
