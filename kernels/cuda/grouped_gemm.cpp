// Grouped matrix product on the GPU: one cuBLAS call an expert on several streams, or
// at::_grouped_mm for all experts at once (kernels/grouped_gemm_choice.h). No read on the host: the
// runs' lengths are there.
//
// Weight gradients always go through cuBLAS: it adds float32 sums of bfloat16 and float16 products
// straight to the destination, and leaves an expert without rows alone.
// Shape letters: kernels/ops.h; r: the rows of an expert.
#include <ATen/Functions.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/util/StringUtil.h>
#include <torch/library.h>

#include <limits>
#include <optional>
#include <string>

#include "kernels/backend.h"
#include "kernels/cuda/cublas_gemm.h"
#include "kernels/cuda/expert_streams.h"
#include "kernels/cuda/stream.h"
#include "kernels/grouped_gemm_choice.h"

namespace moesaic::kernels::cuda {
namespace {

// Calls product(expert, first_row, num_rows) for the experts that have rows, each on its stream.
template <class Product>
void for_each_expert(const at::Tensor& num_rows_e, c10::DeviceIndex device,
                     const Product& product) {
  const auto counts = num_rows_e.contiguous();
  const ExpertStreams streams(device);  // its end waits for the products
  int64_t first_row = 0;
  for (int64_t e = 0; e < counts.size(0); ++e) {
    const int64_t num_rows = counts.const_data_ptr<int64_t>()[e];
    if (num_rows > 0) {
      const c10::cuda::CUDAStreamGuard guard(streams.of(e));
      product(e, first_row, num_rows);
    }
    first_row += num_rows;
  }
}

// What at::_grouped_mm asks for and these matrices have not: rows of whole 16 bytes, a thread a
// group, ends of 32 bits. Empty if they have all of it.
std::string why_not_grouped_mm(const at::Tensor& rows_RI, const at::Tensor& weight_eOI) {
  constexpr int64_t kAlignment = 16;
  constexpr int64_t kMaxGroups = 1023;
  const auto is_aligned = [&](const at::Tensor& tensor) {
    const auto row_bytes = tensor.size(-1) * static_cast<int64_t>(tensor.element_size());
    return reinterpret_cast<uintptr_t>(tensor.const_data_ptr()) % kAlignment == 0 &&
           row_bytes % kAlignment == 0;
  };
  const int64_t out_bytes = weight_eOI.size(1) * static_cast<int64_t>(weight_eOI.element_size());
  if (!is_aligned(rows_RI) || !is_aligned(weight_eOI) || out_bytes % kAlignment != 0) {
    return c10::str("needs rows of whole ", kAlignment, " bytes; here are products of ",
                    rows_RI.sizes(), " with ", weight_eOI.sizes());
  }
  if (weight_eOI.size(0) > kMaxGroups) {
    return c10::str("takes ", kMaxGroups, " experts, not ", weight_eOI.size(0));
  }
  if (rows_RI.size(0) > std::numeric_limits<int32_t>::max()) {
    return c10::str("takes fewer than 2^31 rows, not ", rows_RI.size(0));
  }
  return "";
}

// The runs' ends fill all rows, so that no row of the result is left as it was found.
at::Tensor run_grouped_mm(const at::Tensor& rows_RI, const at::Tensor& weight_eOI,
                          const at::Tensor& num_rows_e) {
  const auto ends_e = copied_to(rows_RI.device(), num_rows_e.cumsum(0).to(at::kInt));
  return at::_grouped_mm(rows_RI, weight_eOI.transpose(1, 2), ends_e);
}

at::Tensor grouped_gemm_cuda(const at::Tensor& rows_RI, const at::Tensor& weight_eOI,
                             const at::Tensor& num_rows_e,
                             const std::optional<at::Tensor>& /*weight_gradient_destination_eOI*/) {
  const OnDeviceOf device(rows_RI);
  const auto rows = rows_RI.contiguous();
  if (rows.numel() == 0 || weight_eOI.size(1) == 0) {  // no rows, or sums of nothing
    return at::zeros({rows.size(0), weight_eOI.size(1)}, rows.options());
  }
  const auto kind = chosen_grouped_gemm();
  const GroupedGemmPlace place{.gpu_generation = gpu_generation(), .dtype = rows.scalar_type()};
  auto reason = why_not(kind, place);
  if (reason.empty() && takes_grouped_mm(kind, place)) {
    reason = why_not_grouped_mm(rows, weight_eOI);
    if (reason.empty()) {
      return run_grouped_mm(rows, weight_eOI, num_rows_e);
    }
  }
  TORCH_CHECK(reason.empty() || kind == GroupedGemmKind::kAuto, "kernels.grouped_gemm: grouped_mm ",
              reason);
  const auto out_RO = at::empty({rows.size(0), weight_eOI.size(1)}, rows.options());
  for_each_expert(num_rows_e, rows.device().index(),
                  [&](int64_t e, int64_t first_row, int64_t num_rows) {
                    cublas_gemm(out_RO.narrow(0, first_row, num_rows),
                                rows.narrow(0, first_row, num_rows), weight_eOI.select(0, e).t(),
                                /*accumulate=*/false);
                  });
  return out_RO;
}

void grouped_gemm_weight_gradient_cuda_(at::Tensor& destination_eOI, const at::Tensor& grad_out_RO,
                                        const at::Tensor& rows_RI, const at::Tensor& num_rows_e) {
  const OnDeviceOf device(rows_RI);
  if (destination_eOI.numel() == 0) {
    return;
  }
  const auto grad_out = grad_out_RO.contiguous();
  const auto rows = rows_RI.contiguous();
  for_each_expert(
      num_rows_e, rows.device().index(), [&](int64_t e, int64_t first_row, int64_t num_rows) {
        cublas_gemm(destination_eOI.select(0, e), grad_out.narrow(0, first_row, num_rows).t(),
                    rows.narrow(0, first_row, num_rows), /*accumulate=*/true);
      });
}

at::Tensor grouped_gemm_weight_gradient_cuda(const at::Tensor& grad_out_RO,
                                             const at::Tensor& rows_RI,
                                             const at::Tensor& num_rows_e) {
  auto grad_weight_eOI =
      at::zeros({num_rows_e.size(0), grad_out_RO.size(1), rows_RI.size(1)}, rows_RI.options());
  grouped_gemm_weight_gradient_cuda_(grad_weight_eOI, grad_out_RO, rows_RI, num_rows_e);
  return grad_weight_eOI;
}

}  // namespace
}  // namespace moesaic::kernels::cuda

TORCH_LIBRARY_IMPL(moesaic, CUDA, m) {
  m.impl("grouped_gemm", &moesaic::kernels::cuda::grouped_gemm_cuda);
  m.impl("grouped_gemm_weight_gradient",
         &moesaic::kernels::cuda::grouped_gemm_weight_gradient_cuda);
  m.impl("grouped_gemm_weight_gradient_",
         &moesaic::kernels::cuda::grouped_gemm_weight_gradient_cuda_);
}
