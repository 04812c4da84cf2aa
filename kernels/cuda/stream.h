// Where the operators' launchers run: on the current stream of their device, or, in the emulation,
// on the CPU. All that the glue says differently in the two builds stands here.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/DeviceGuard.h>
#include <cuda_runtime.h>
#ifndef MOESAIC_CUDA_EMULATION
#include <c10/cuda/CUDAStream.h>
#endif

/// The dispatch key of the operators' implementations: CUDA tensors, or CPU tensors where kernels
/// are emulated (which then have no other implementation of these operators).
#ifdef MOESAIC_CUDA_EMULATION
#define MOESAIC_CUDA_KEY CPU
#else
#define MOESAIC_CUDA_KEY CUDA
#endif

namespace moesaic::kernels::cuda {

/// Makes a tensor's device the current one for as long as it lives, and knows the stream there.
class OnDeviceOf {
 public:
  explicit OnDeviceOf(const at::Tensor& tensor) : guard_(tensor.device()) {}

  /// LibTorch's current stream: ordered with the work of ATen and of the caching allocator.
  cudaStream_t stream() const {
#ifdef MOESAIC_CUDA_EMULATION
    return nullptr;
#else
    return c10::cuda::getCurrentCUDAStream().stream();
#endif
  }

 private:
  c10::DeviceGuard guard_;
};

/// A tensor of the CPU on `device`, without a wait of the host: the copy goes through pinned memory
/// that the caching allocator keeps until it is done.
inline at::Tensor copied_to(const at::Device& device, const at::Tensor& on_cpu) {
  if (device.is_cpu()) {
    return on_cpu;
  }
  return on_cpu.pin_memory().to(device, /*non_blocking=*/true);
}

}  // namespace moesaic::kernels::cuda
