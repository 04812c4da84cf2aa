#include "kernels/reference/sort_chunks.h"

#include <ATen/TensorOperators.h>

#include <vector>

namespace moesaic::kernels::reference {

at::Tensor sort_chunks(const at::Tensor& rows_RD, const at::Tensor& counts_AB) {
  std::vector<at::Tensor> chunks_BA;
  const auto begin_AB = (counts_AB.flatten().cumsum(0) - counts_AB.flatten()).view_as(counts_AB);
  for (int64_t b = 0; b < counts_AB.size(1); ++b) {
    for (int64_t a = 0; a < counts_AB.size(0); ++a) {
      chunks_BA.push_back(
          rows_RD.narrow(0, begin_AB[a][b].item<int64_t>(), counts_AB[a][b].item<int64_t>()));
    }
  }
  return chunks_BA.empty() ? rows_RD.clone() : at::cat(chunks_BA);
}

}  // namespace moesaic::kernels::reference
