// Tensors in device memory and back, for tests of kernels on raw pointers: the same on a GPU and in
// the emulation, which poisons what cudaMalloc gives and knows its exact size.
#pragma once

#include <ATen/Functions.h>
#include <ATen/core/Tensor.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <type_traits>

namespace moesaic::kernels::cuda {

/// The dtype of a CUDA element type.
template <class T>
constexpr at::ScalarType dtype_of() {
  if constexpr (std::is_same_v<T, __nv_bfloat16>) {
    return at::kBFloat16;
  } else if constexpr (std::is_same_v<T, __half>) {
    return at::kHalf;
  } else {
    return c10::CppTypeToScalarType<T>::value;
  }
}

/// An array of T on the device. `offset` leaves that many elements free before it, which makes its
/// address no multiple of 16 bytes.
template <class T>
class DeviceBuffer {
 public:
  explicit DeviceBuffer(int64_t size, int64_t offset = 0) : size_(size), offset_(offset) {
    check(cudaMalloc(reinterpret_cast<void**>(&memory_), (size + offset) * sizeof(T)));
  }
  /// A copy of a contiguous tensor of T's dtype, or of any dtype as bytes.
  explicit DeviceBuffer(const at::Tensor& tensor, int64_t offset = 0)
      : DeviceBuffer(static_cast<int64_t>(tensor.nbytes() / sizeof(T)), offset) {
    if (!tensor.is_contiguous() || (sizeof(T) > 1 && tensor.scalar_type() != dtype_of<T>())) {
      throw std::invalid_argument("DeviceBuffer: not contiguous, or of another dtype");
    }
    if (size_ > 0) {
      check(cudaMemcpy(data(), tensor.const_data_ptr(), tensor.nbytes(), cudaMemcpyHostToDevice));
    }
  }
  DeviceBuffer(const DeviceBuffer&) = delete;
  DeviceBuffer& operator=(const DeviceBuffer&) = delete;
  ~DeviceBuffer() { cudaFree(memory_); }

  T* data() const { return memory_ + offset_; }

  at::Tensor to_tensor(at::IntArrayRef sizes, at::ScalarType dtype = dtype_of<T>()) const {
    auto tensor = at::empty(sizes, dtype);
    if (tensor.nbytes() != size_ * sizeof(T)) {
      throw std::invalid_argument("DeviceBuffer: another size");
    }
    if (size_ > 0) {
      check(cudaMemcpy(tensor.mutable_data_ptr(), data(), tensor.nbytes(), cudaMemcpyDeviceToHost));
    }
    return tensor;
  }

 private:
  static void check(cudaError_t error) {
    if (error != cudaSuccess) {
      throw std::runtime_error(cudaGetErrorString(error));
    }
  }

  T* memory_ = nullptr;
  int64_t size_ = 0;
  int64_t offset_ = 0;
};

/// Same shape, dtype and bits: -0 is not 0, a NaN equals itself.
inline testing::AssertionResult same_bits(const at::Tensor& actual, const at::Tensor& expected) {
  if (actual.sizes() != expected.sizes() || actual.scalar_type() != expected.scalar_type()) {
    return testing::AssertionFailure()
           << "got " << actual.sizes() << " " << actual.scalar_type() << ", expected "
           << expected.sizes() << " " << expected.scalar_type();
  }
  const auto a = actual.contiguous();
  const auto b = expected.contiguous();
  const auto size = static_cast<int64_t>(a.element_size());
  for (int64_t i = 0; i < a.numel(); ++i) {
    if (std::memcmp(static_cast<const char*>(a.const_data_ptr()) + i * size,
                    static_cast<const char*>(b.const_data_ptr()) + i * size, size) != 0) {
      return testing::AssertionFailure()
             << "element " << i << " of " << a.sizes() << ": got "
             << a.flatten()[i].item().toDouble() << ", expected "
             << b.flatten()[i].item().toDouble() << " or other bits of it";
    }
  }
  return testing::AssertionSuccess();
}

}  // namespace moesaic::kernels::cuda
