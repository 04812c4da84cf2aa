// One matrix product by cuBLAS, row-major, with the sum in float32 (float64 for float64).
//
// Shape letters: M rows of the result, N columns, k the dimension that is summed.
#pragma once

#include <ATen/core/Tensor.h>

namespace moesaic::kernels::cuda {

/// out_MN = a_Mk @ b_kN, or out_MN += where `accumulate`, on the current stream.
///   a_Mk, b_kN  the same dtype: float32, float64, bfloat16, float16; rows or columns contiguous
///   out_MN      rows contiguous; that dtype or float32
/// M, N and k are positive. The settings of make_gpu_deterministic() (kernels/backend.h) are those
/// of the handle; no TF32, no split sums in half precision. Throws c10::Error.
void cublas_gemm(const at::Tensor& out_MN, const at::Tensor& a_Mk, const at::Tensor& b_kN,
                 bool accumulate);

}  // namespace moesaic::kernels::cuda
