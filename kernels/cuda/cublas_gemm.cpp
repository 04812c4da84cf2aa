#include "kernels/cuda/cublas_gemm.h"

#include <ATen/cuda/CUDAContext.h>
#include <ATen/cuda/Exceptions.h>
#include <cublas_v2.h>

#include <limits>

namespace moesaic::kernels::cuda {
namespace {

cudaDataType_t data_type(at::ScalarType dtype) {
  switch (dtype) {
    case at::kFloat:
      return CUDA_R_32F;
    case at::kDouble:
      return CUDA_R_64F;
    case at::kBFloat16:
      return CUDA_R_16BF;
    case at::kHalf:
      return CUDA_R_16F;
    default:
      TORCH_CHECK(false, "grouped_gemm: no product of ", dtype, " on a GPU");
  }
}

/// A matrix as cuBLAS sees it. Column-major memory is the row-major memory of the transpose.
struct Operand {
  cublasOperation_t operation;
  int leading_dimension;
};

int to_int(int64_t value) {
  TORCH_CHECK(value <= std::numeric_limits<int>::max(), "grouped_gemm: a dimension of ", value);
  return static_cast<int>(value);
}

// Row-major memory is the transpose's, which is what the call wants: no operation.
Operand operand_of(const at::Tensor& matrix) {
  if (matrix.stride(1) == 1 || matrix.size(1) == 1) {
    return {CUBLAS_OP_N, to_int(std::max(matrix.stride(0), matrix.size(1)))};
  }
  TORCH_CHECK(matrix.stride(0) == 1 || matrix.size(0) == 1,
              "grouped_gemm: neither rows nor columns of ", matrix.sizes(), " are contiguous");
  return {CUBLAS_OP_T, to_int(std::max(matrix.stride(1), matrix.size(0)))};
}

/// Sums of products in half precision would depend on how a sum is split; TF32 is not asked for.
class MathMode {
 public:
  explicit MathMode(cublasHandle_t handle) : handle_(handle) {
    TORCH_CUDABLAS_CHECK(cublasGetMathMode(handle_, &before_));
    TORCH_CUDABLAS_CHECK(cublasSetMathMode(
        handle_, static_cast<cublasMath_t>(CUBLAS_DEFAULT_MATH |
                                           CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION)));
  }
  ~MathMode() { static_cast<void>(cublasSetMathMode(handle_, before_)); }
  MathMode(const MathMode&) = delete;
  MathMode& operator=(const MathMode&) = delete;

 private:
  cublasHandle_t handle_;
  cublasMath_t before_;
};

}  // namespace

void cublas_gemm(const at::Tensor& out_MN, const at::Tensor& a_Mk, const at::Tensor& b_kN,
                 bool accumulate) {
  TORCH_CHECK(out_MN.stride(1) == 1 || out_MN.size(1) == 1,
              "grouped_gemm: the rows of the result must be contiguous");
  const auto dtype = a_Mk.scalar_type();
  const bool is_double = dtype == at::kDouble;
  const double one = 1.0;
  const double zero = 0.0;
  const float one_float = 1.0F;
  const float zero_float = 0.0F;
  const auto scalar = [&](bool is_one) -> const void* {
    return is_double ? static_cast<const void*>(is_one ? &one : &zero)
                     : static_cast<const void*>(is_one ? &one_float : &zero_float);
  };
  const auto a = operand_of(a_Mk);
  const auto b = operand_of(b_kN);
  const cublasHandle_t handle = at::cuda::getCurrentCUDABlasHandle();
  const MathMode mode(handle);
  // out^T = b^T a^T in column-major terms.
  TORCH_CUDABLAS_CHECK(cublasGemmEx(
      handle, b.operation, a.operation, to_int(out_MN.size(1)), to_int(out_MN.size(0)),
      to_int(a_Mk.size(1)), scalar(true), b_kN.const_data_ptr(), data_type(dtype),
      b.leading_dimension, a_Mk.const_data_ptr(), data_type(dtype), a.leading_dimension,
      scalar(accumulate), out_MN.mutable_data_ptr(), data_type(out_MN.scalar_type()),
      to_int(std::max(out_MN.stride(0), out_MN.size(1))),
      is_double ? CUBLAS_COMPUTE_64F : CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT));
}

}  // namespace moesaic::kernels::cuda
