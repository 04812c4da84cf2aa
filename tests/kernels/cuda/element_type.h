// From the dtype of a tensor to the element type of a kernel.
#pragma once

#include <ATen/core/Tensor.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <stdexcept>

namespace moesaic::kernels::cuda {

/// Calls run(T()) with the CUDA element type of `dtype`. Throws std::invalid_argument for others.
template <class Run>
void for_element_type(at::ScalarType dtype, Run run) {
  switch (dtype) {
    case at::kFloat:
      return run(float());
    case at::kDouble:
      return run(double());
    case at::kBFloat16:
      return run(__nv_bfloat16());
    case at::kHalf:
      return run(__half());
    default:
      throw std::invalid_argument("no kernel has this element type");
  }
}

}  // namespace moesaic::kernels::cuda
