// Pointers into tensors as the launchers take them: CUDA's element types, null for absent tensors.
#pragma once

#include <ATen/Dispatch.h>
#include <ATen/core/Tensor.h>

#include "kernels/cuda/accumulate.h"

/// Calls the lambda with scalar_t = float, double, at::BFloat16 or at::Half.
#define MOESAIC_DISPATCH_ELEMENTS(dtype, name, ...) \
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kBFloat16, at::kHalf, dtype, name, __VA_ARGS__)

namespace moesaic::kernels::cuda {

template <class T>
struct DeviceElementOf {
  using type = T;
};
template <>
struct DeviceElementOf<at::BFloat16> {
  using type = __nv_bfloat16;
};
template <>
struct DeviceElementOf<at::Half> {
  using type = __half;
};

/// The launchers' name for an element type of ATen.
template <class T>
using DeviceElement = typename DeviceElementOf<T>::type;

/// The elements of a contiguous tensor; null for an undefined one.
template <class T>
const T* pointer_to(const at::Tensor& tensor) {
  return tensor.defined() ? static_cast<const T*>(tensor.const_data_ptr()) : nullptr;
}

/// As pointer_to, to write.
template <class T>
T* mutable_pointer_to(const at::Tensor& tensor) {
  return tensor.defined() ? static_cast<T*>(tensor.mutable_data_ptr()) : nullptr;
}

}  // namespace moesaic::kernels::cuda
