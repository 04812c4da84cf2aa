// trainer.device: which device a rank computes on, and why.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <optional>
#include <string>

#include "trainer/config/config.h"

namespace moesaic::trainer {

struct DeviceChoice {
  at::Device device = at::kCPU;
  std::string reason;  ///< "no GPU can be used: ..."; empty where the configuration asked for it
};

/// The device of trainer.device in a job of `world_size` ranks; where it is a GPU, its libraries
/// are made deterministic. Sets kernels.grouped_gemm. Throws ExitError(kConfiguration) where one of
/// the two keys cannot be had here, with the reason. The same on every rank of one machine.
///   dtype  of the products; absent: trainer.precision.parameter
DeviceChoice choose_device(const Config& config, int world_size,
                           std::optional<at::ScalarType> dtype = std::nullopt);

/// "device: cpu (...)", for the log.
std::string device_line(const DeviceChoice& choice);

/// Commands without a log: rank 0 writes the line to stderr in a build with CUDA kernels; another
/// has the CPU only.
void report_device(const DeviceChoice& choice);

}  // namespace moesaic::trainer
