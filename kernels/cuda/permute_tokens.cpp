// Rows into expert order on CUDA tensors. The kernel goes by row_of_choice_TK; source_R says how
// many rows there are. One read on the host: whether the plan names a row that is not there.
#include "kernels/cuda/permute_tokens.h"

#include <ATen/Functions.h>
#include <torch/library.h>

#include "kernels/cuda/foreign_row_flag.h"
#include "kernels/cuda/stream.h"

namespace moesaic::kernels::cuda {
namespace {

at::Tensor permute_tokens_cuda(const at::Tensor& x_TD, const at::Tensor& source_R,
                               const at::Tensor& row_of_choice_TK) {
  const OnDeviceOf device(x_TD);
  const auto x = x_TD.contiguous();
  const auto row_of_choice = row_of_choice_TK.contiguous();
  const int64_t num_rows = source_R.size(0);
  const int64_t row_bytes = x.size(1) * static_cast<int64_t>(x.element_size());
  const auto rows_RD = at::empty({num_rows, x.size(1)}, x.options());
  const ForeignRowFlag foreign_row(x.options());
  permute_tokens(x.const_data_ptr(), row_of_choice.const_data_ptr<int64_t>(), x.size(0),
                 row_of_choice.size(1), num_rows, row_bytes, rows_RD.mutable_data_ptr(),
                 foreign_row.pointer(), device.stream());
  foreign_row.check("permute_tokens", num_rows);
  return rows_RD;
}

}  // namespace
}  // namespace moesaic::kernels::cuda

TORCH_LIBRARY_IMPL(moesaic, MOESAIC_CUDA_KEY, m) {
  m.impl("permute_tokens", &moesaic::kernels::cuda::permute_tokens_cuda);
}
