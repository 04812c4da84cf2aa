// The calls of the CUDA runtime that the emulation has, as host code uses them.
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstdint>

#include "kernels/cuda/emulation/sanitizer.h"
#include "kernels/cuda/launch_limits.h"
#include "tests/kernels/cuda/emulation/faulty_kernels.h"

namespace moesaic::tests {
namespace {

float* allocate(size_t size) {
  void* memory = nullptr;
  EXPECT_EQ(cudaMalloc(&memory, size * sizeof(float)), cudaSuccess);
  return static_cast<float*>(memory);
}

TEST(EmulationRuntime, MemoryIsAlignedAndPoisoned) {
  auto* memory = allocate(100);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(memory) % 256, 0);
  EXPECT_TRUE(std::isnan(memory[0]));
  EXPECT_TRUE(std::isnan(memory[99]));
  EXPECT_EQ(cudaFree(memory), cudaSuccess);
  void* none = &none;
  EXPECT_EQ(cudaMalloc(&none, 0), cudaSuccess);
  EXPECT_EQ(none, nullptr);
  EXPECT_EQ(cudaFree(none), cudaSuccess);
}

TEST(EmulationRuntime, CopiesAndSets) {
  cudaStream_t stream = nullptr;
  ASSERT_EQ(cudaStreamCreate(&stream), cudaSuccess);
  const std::array<float, 3> in = {1, 2, 3};
  std::array<float, 3> out{};
  auto* memory = allocate(3);
  cudaMemcpyAsync(memory, in.data(), sizeof(in), cudaMemcpyHostToDevice, stream);
  cudaMemsetAsync(memory + 1, 0, sizeof(float), stream);
  cudaMemcpyAsync(out.data(), memory, sizeof(out), cudaMemcpyDeviceToHost, stream);
  EXPECT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
  EXPECT_EQ(out, (std::array<float, 3>{1, 0, 3}));
  EXPECT_EQ(cudaFree(memory), cudaSuccess);
  EXPECT_EQ(cudaStreamDestroy(stream), cudaSuccess);
}

TEST(EmulationRuntime, DeviceSaysWhatLaunchAllows) {
  int value = 0;
  ASSERT_EQ(cudaDeviceGetAttribute(&value, cudaDevAttrMaxSharedMemoryPerBlockOptin, 0),
            cudaSuccess);
  EXPECT_EQ(value, static_cast<int>(kernels::cuda::kMaxSharedBytes));
  ASSERT_EQ(cudaDeviceGetAttribute(&value, cudaDevAttrMultiProcessorCount, 0), cudaSuccess);
  EXPECT_GT(value, 0);
  EXPECT_EQ(cudaDeviceGetAttribute(&value, cudaDevAttrMultiProcessorCount, 1),
            cudaErrorInvalidDevice);
  EXPECT_EQ(cudaSetDevice(1), cudaErrorInvalidDevice);
}

TEST(EmulationRuntime, AddressSanitizerKnowsTheSize) {
  using kernels::cuda::emulation::Sanitizer;
  if (kernels::cuda::emulation::sanitizer() != Sanitizer::kAddress) {
    GTEST_SKIP() << "this program is built without AddressSanitizer";
  }
  auto* memory = allocate(7);
  run_global_write(memory, 6);
  EXPECT_DEATH(run_global_write(memory, 7), "heap-buffer-overflow.*write_global");
  cudaFree(memory);
}

}  // namespace
}  // namespace moesaic::tests
