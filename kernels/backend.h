// What this build of the kernels can do, for those who choose a device or report on it. Each build
// has one implementation: cpu/, cuda/ or cuda/emulation/.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

namespace moesaic::kernels {

/// Why the operators cannot run on a GPU here; empty if they can. Starts no GPU.
std::string why_no_gpu();

/// Compute capability of the current GPU, major (9: Hopper). Only where why_no_gpu() is empty.
int gpu_generation();

/// Fixes what cuBLAS and ATen need to give the same bits in every run, and checks it: cuBLAS
/// workspaces (CUBLAS_WORKSPACE_CONFIG, :4096:8 if unset), no TF32 in its products, no reductions
/// in half precision; an operation of ATen that has no deterministic form then throws. (float32
/// attention of ATen takes 3xTF32, near float32.) Before the first use of the GPU. Returns why it
/// cannot be, or an empty string. Only where why_no_gpu() is empty.
std::string make_gpu_deterministic();

/// Launches of each CUDA kernel by this process so far, zeros included; none in a build without
/// CUDA kernels.
std::optional<std::map<std::string, int64_t>> cuda_kernel_launches();

}  // namespace moesaic::kernels
