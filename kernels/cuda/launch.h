// The own spellings of a kernel file. All else in it is plain CUDA C++.
//
//   #include "kernels/cuda/launch.h"            // cuda_runtime.h comes with it
//
//   namespace moesaic::kernels::cuda {          // a named namespace: kernels have external linkage
//   template <class T>
//   __global__ void scale_rows(const T* in, T factor, int64_t size, T* out) {
//     MOESAIC_DYNAMIC_SHARED(float, sums);      // float* sums, 16-byte aligned, of the launch's
//     size
//     __shared__ int count;                     // static shared memory as ever
//     ...
//   }
//   MOESAIC_KERNEL(scale_rows)                  // once a kernel, template or not, after its body
//
//   template <class T>
//   void run_scale_rows(const T* in, T factor, int64_t size, T* out, cudaStream_t stream) {
//     if (size == 0) return;                    // a grid of 0 blocks is refused, as by CUDA
//     launch(scale_rows<T>, grid, block, shared_bytes, stream, in, factor, size, out);
//   }
//   }
//
// One source, two compilers. nvcc: a GPU program. g++ -x c++ -DMOESAIC_CUDA_EMULATION: the same
// program on the CPU, each CUDA thread a fiber (emulation/README.md). A test of the kernel says
// MOESAIC_KERNEL_TEST(scale_rows) (tests/kernels/cuda/for_each_order.h); without it the tests do
// not link. kernel_launches() (kernel_registry.h) has the launches per kernel.
//
// Both refuse with std::runtime_error that names the kernel: 0 or more than 1024 threads, an empty
// grid, more dynamic shared memory than kMaxSharedBytes; nvcc's also what cudaLaunchKernelEx
// refuses. The emulation throws emulation::KernelFault (a runtime_error) for what a kernel does
// wrong.
//
// Not available in the emulation, nor allowed by scripts/check.sh: <<<>>>, extern __shared__,
// __activemask, atomicAdd on float, double, half. Inline PTX, cp.async, mma, clusters, cooperative
// groups need a small function with a twin under #ifdef MOESAIC_CUDA_EMULATION.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>

#include "kernels/cuda/kernel_registry.h"
#include "kernels/cuda/launch_limits.h"
#ifdef MOESAIC_CUDA_EMULATION
#include "kernels/cuda/emulation/device_language.h"
#else
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#endif

#ifdef MOESAIC_CUDA_EMULATION
#define MOESAIC_DYNAMIC_SHARED(Type, name)                                            \
  static_assert(alignof(Type) <= 16, "dynamic shared memory is aligned to 16 bytes"); \
  Type* const name = static_cast<Type*>(moesaic::kernels::cuda::emulation::dynamic_shared_memory())
#else
#define MOESAIC_DYNAMIC_SHARED(Type, name)                                            \
  static_assert(alignof(Type) <= 16, "dynamic shared memory is aligned to 16 bytes"); \
  extern __shared__ __align__(16) unsigned char moesaic_dynamic_shared_bytes[];       \
  Type* const name = reinterpret_cast<Type*>(moesaic_dynamic_shared_bytes)
#endif

// C linkage: the test may define the symbol in any namespace.
#ifdef MOESAIC_KERNEL_TESTS
#define MOESAIC_KERNEL(name)                                                      \
  extern "C" const char moesaic_test_of_kernel_##name;                            \
  static const moesaic::kernels::cuda::KernelRegistration registration_of_##name( \
      #name, &moesaic_test_of_kernel_##name);
#else
#define MOESAIC_KERNEL(name) \
  static const moesaic::kernels::cuda::KernelRegistration registration_of_##name(#name);
#endif

namespace moesaic::kernels::cuda {

/// Runs `kernel` with a copy of the arguments, asynchronously on the GPU, at once in the emulation.
///
/// Args: as of kernel<<<grid, block, dynamic_shared_bytes, stream>>>(arguments...).
/// Throws std::runtime_error that names the kernel if the launch is refused.
template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t dynamic_shared_bytes,
            cudaStream_t stream, Arguments&&... arguments) {
  const void* address = reinterpret_cast<const void*>(kernel);
  count_launch(address);
#ifdef MOESAIC_CUDA_EMULATION
  static_cast<void>(stream);
  using Call = std::pair<void (*)(Parameters...), std::tuple<Parameters...>>;
  const Call call(kernel, std::tuple<Parameters...>(std::forward<Arguments>(arguments)...));
  emulation::run_kernel(address, grid, block, dynamic_shared_bytes, &call, [](const void* given) {
    std::apply(static_cast<const Call*>(given)->first, static_cast<const Call*>(given)->second);
  });
#else
  const auto check = [&](cudaError_t error) {
    if (error != cudaSuccess) {
      static_cast<void>(cudaGetLastError());  // it is reported here
      throw std::runtime_error("launch of " + kernel_name(address) + ": " +
                               cudaGetErrorString(error));
    }
  };
  // Beyond 48 KiB a kernel has to ask.
  if (dynamic_shared_bytes > 48 * 1024) {
    check(cudaFuncSetAttribute(address, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               static_cast<int>(dynamic_shared_bytes)));
  }
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = dynamic_shared_bytes;
  config.stream = stream;
  check(cudaLaunchKernelEx(&config, kernel, std::forward<Arguments>(arguments)...));
#endif
}

}  // namespace moesaic::kernels::cuda
