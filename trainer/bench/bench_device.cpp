#include "trainer/bench/bench_device.h"

#include <ATen/Functions.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>

#include "trainer/exit_code.h"

namespace moesaic::trainer {

BenchDevice::BenchDevice(at::Device device, int64_t flush_bytes)
    : device_(device), flush_(at::zeros({flush_bytes / 4}, at::device(device).dtype(at::kFloat))) {}

void BenchDevice::flush_caches() {
  // Reads and writes: a plain fill could go around the caches.
  flush_.add_(1.0);
}

std::unique_ptr<BenchDevice> make_bench_device(at::Device device) {
  if (device.is_cpu()) {
    return make_cpu_bench_device();
  }
  const auto refuse = [&](const std::string& reason) {
    throw ExitError(ExitCode::kConfiguration, "trainer.device: " + device.str() + ": " + reason);
  };
  if (!c10::impl::hasDeviceGuardImpl(device.type())) {
    refuse("this build has no such device");
  }
  if (c10::impl::getDeviceGuardImpl(device.type())->deviceCount() <=
      std::max<int>(device.index(), 0)) {
    refuse("this machine has no such device");
  }
  return make_accelerator_bench_device(device);
}

}  // namespace moesaic::trainer
