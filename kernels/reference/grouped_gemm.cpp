#include "kernels/reference/grouped_gemm.h"

namespace moesaic::kernels::reference {

at::Tensor grouped_gemm(const at::Tensor& rows_RI, const at::Tensor& weight_eOI,
                        const at::Tensor& num_rows_e) {
  std::vector<at::Tensor> out = {rows_RI.new_empty({0, weight_eOI.size(1)})};
  int64_t begin = 0;
  for (int64_t e = 0; e < num_rows_e.size(0); ++e) {
    const auto num_rows = num_rows_e[e].item<int64_t>();
    out.push_back(rows_RI.narrow(0, begin, num_rows).mm(weight_eOI[e].t()));
    begin += num_rows;
  }
  return at::cat(out);
}

}  // namespace moesaic::kernels::reference
