// A build with CUDA kernels: is there a GPU that they run on, and are its libraries deterministic?
#include "kernels/backend.h"

#include <ATen/Context.h>
#include <c10/util/StringUtil.h>
#include <cuda_runtime_api.h>

#include <cstdlib>

#include "kernels/cuda/kernel_registry.h"

namespace moesaic::kernels {
namespace {

// The architectures that CMakePresets.json builds for begin here; newer ones take the PTX.
constexpr int kOldestGeneration = 8;
constexpr const char* kWorkspaceVariable = "CUBLAS_WORKSPACE_CONFIG";

}  // namespace

std::string why_no_gpu() {
  int num_devices = 0;
  if (const auto error = cudaGetDeviceCount(&num_devices); error != cudaSuccess) {
    static_cast<void>(cudaGetLastError());  // sticks otherwise, and the next call would report it
    return c10::str("no GPU can be used: ", cudaGetErrorString(error));
  }
  if (num_devices == 0) {
    return "there is no GPU";
  }
  const int generation = gpu_generation();
  if (generation < kOldestGeneration) {
    return c10::str("the GPU is too old: its compute capability is ", generation,
                    ".x, at least 8.0 is needed");
  }
  return "";
}

int gpu_generation() {
  int device = 0;
  int major = 0;
  if (cudaGetDevice(&device) != cudaSuccess ||
      cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) != cudaSuccess) {
    return 0;
  }
  return major;
}

std::string make_gpu_deterministic() {
  setenv(kWorkspaceVariable, ":4096:8", /*overwrite=*/0);
  const std::string workspace = std::getenv(kWorkspaceVariable);
  if (workspace != ":4096:8" && workspace != ":16:8") {
    return c10::str(kWorkspaceVariable, " is '", workspace,
                    "', with which cuBLAS is not deterministic: unset it, or use :4096:8 or :16:8");
  }
  auto& context = at::globalContext();
  context.setDeterministicAlgorithms(/*enabled=*/true, /*warn_only=*/false);
  context.setDeterministicFillUninitializedMemory(false);
  context.setAllowTF32CuBLAS(false);
  context.setAllowFP16ReductionCuBLAS(false);
  context.setAllowBF16ReductionCuBLAS(false);
  return "";
}

std::optional<std::map<std::string, int64_t>> cuda_kernel_launches() {
  return cuda::kernel_launches();
}

}  // namespace moesaic::kernels
