// A build without CUDA kernels.
#include "kernels/backend.h"

namespace moesaic::kernels {

std::string why_no_gpu() {
  return "this build has no CUDA kernels (cmake --preset cuda builds them)";
}

int gpu_generation() {
  return 0;
}

std::string make_gpu_deterministic() {
  return why_no_gpu();
}

std::optional<std::map<std::string, int64_t>> cuda_kernel_launches() {
  return std::nullopt;
}

}  // namespace moesaic::kernels
