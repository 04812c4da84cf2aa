// A build whose CUDA kernels run on the CPU, on CPU tensors.
#include "kernels/backend.h"

#include "kernels/cuda/kernel_registry.h"

namespace moesaic::kernels {

std::string why_no_gpu() {
  return "this build emulates the CUDA kernels on the CPU (cmake --preset cuda builds the real "
         "ones)";
}

int gpu_generation() {
  return 0;
}

std::string make_gpu_deterministic() {
  return why_no_gpu();
}

std::optional<std::map<std::string, int64_t>> cuda_kernel_launches() {
  return cuda::kernel_launches();
}

}  // namespace moesaic::kernels
