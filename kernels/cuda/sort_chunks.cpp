// Chunks into the other order on CUDA tensors. The counts come from the host; nothing is read
// there.
#include "kernels/cuda/sort_chunks.h"

#include <ATen/Functions.h>
#include <torch/library.h>

#include "kernels/cuda/stream.h"

namespace moesaic::kernels::cuda {
namespace {

at::Tensor sort_chunks_cuda(const at::Tensor& rows_RD, const at::Tensor& counts_AB) {
  const OnDeviceOf device(rows_RD);
  const auto rows = rows_RD.contiguous();
  const auto counts = copied_to(rows.device(), counts_AB.contiguous());
  const int64_t num_outer = counts.size(0);
  const int64_t num_inner = counts.size(1);
  const int64_t row_bytes = rows.size(1) * static_cast<int64_t>(rows.element_size());
  const auto sorted_RD = at::empty(rows.sizes(), rows.options());
  const auto table = at::empty({chunk_table_size(num_outer, num_inner)}, counts.options());
  sort_chunks(rows.const_data_ptr(), counts.const_data_ptr<int64_t>(), num_outer, num_inner,
              rows.size(0), row_bytes, sorted_RD.mutable_data_ptr(),
              table.mutable_data_ptr<int64_t>(), device.stream());
  return sorted_RD;
}

}  // namespace
}  // namespace moesaic::kernels::cuda

TORCH_LIBRARY_IMPL(moesaic, MOESAIC_CUDA_KEY, m) {
  m.impl("sort_chunks", &moesaic::kernels::cuda::sort_chunks_cuda);
}
