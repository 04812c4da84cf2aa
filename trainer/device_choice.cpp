#include "trainer/device_choice.h"

#include <fmt/format.h>

#include "kernels/backend.h"
#include "kernels/grouped_gemm_choice.h"
#include "trainer/exit_code.h"
#include "trainer/launch.h"
#include "trainer/training_state.h"

namespace moesaic::trainer {
namespace {

[[noreturn]] void refuse(const Config& config, const std::string& key, const std::string& reason) {
  const auto origin = config.origins.find(key);
  throw ExitError(
      ExitCode::kConfiguration,
      (origin == config.origins.end() ? "" : origin->second + ": ") + key + " " + reason);
}

// Why the ranks of this job cannot compute on a GPU; empty if they can.
std::string why_not_cuda(int world_size) {
  const auto reason = kernels::why_no_gpu();
  if (reason.empty() && world_size > 1) {
    return fmt::format(
        "the {} ranks of this job exchange CPU tensors only: several GPUs need a "
        "back-end for NCCL, which is not there yet",
        world_size);
  }
  return reason;
}

void choose_grouped_gemm(const Config& config, const at::Device& device, at::ScalarType dtype) {
  const auto kind = config.kernels.grouped_gemm;
  const auto reason = kernels::why_not(
      kind, {.gpu_generation = device.is_cpu() ? 0 : kernels::gpu_generation(), .dtype = dtype});
  if (!reason.empty()) {
    const bool is_cublas = kind == kernels::GroupedGemmKind::kCublas;
    refuse(config, "kernels.grouped_gemm",
           fmt::format("{} {}", is_cublas ? "cublas" : "grouped_mm", reason));
  }
  kernels::set_grouped_gemm(kind);
}

}  // namespace

DeviceChoice choose_device(const Config& config, int world_size,
                           std::optional<at::ScalarType> dtype) {
  DeviceChoice choice;
  const auto wanted = config.trainer.device;
  if (wanted != DeviceKind::kCpu) {
    choice.reason = why_not_cuda(world_size);
    if (choice.reason.empty()) {
      choice.device = at::Device(at::kCUDA, 0);
    } else if (wanted == DeviceKind::kCuda) {
      refuse(config, "trainer.device", "cuda is not possible: " + choice.reason);
    }
  }
  if (!choice.device.is_cpu()) {
    if (const auto reason = kernels::make_gpu_deterministic(); !reason.empty()) {
      refuse(config, "trainer.device", "cuda is not possible: " + reason);
    }
  }
  choose_grouped_gemm(config, choice.device, dtype.value_or(parameter_dtype(config)));
  return choice;
}

std::string device_line(const DeviceChoice& choice) {
  return "device: " + choice.device.str() +
         (choice.reason.empty() ? "" : " (" + choice.reason + ")");
}

void report_device(const DeviceChoice& choice) {
  if (launch_rank() == 0 && kernels::cuda_kernel_launches()) {
    fmt::print(stderr, "{}\n", device_line(choice));
  }
}

}  // namespace moesaic::trainer
