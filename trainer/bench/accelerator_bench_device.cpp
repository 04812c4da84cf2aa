#include <c10/core/DeviceGuard.h>
#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include "trainer/bench/bench_device.h"

namespace moesaic::trainer {
namespace {

// Larger than twice the last cache of any GPU so far (Blackwell: 126 MB).
constexpr int64_t kFlushBytes = int64_t{256} << 20;

class AcceleratorBenchDevice : public BenchDevice {
 public:
  explicit AcceleratorBenchDevice(at::Device device)
      : BenchDevice(device, kFlushBytes), guard_(device) {}

  std::string description() const override { return device().str(); }

  double time(const std::function<void()>& body) override {
    const auto stream = c10::impl::VirtualGuardImpl(device().type()).getStream(device());
    c10::Event begin(device().type(), c10::EventFlag::BACKEND_DEFAULT);  // which keeps the time
    c10::Event end(device().type(), c10::EventFlag::BACKEND_DEFAULT);
    // The flush before is still running: the launches of short kernels hide behind it.
    begin.record(stream);
    body();
    end.record(stream);
    end.synchronize();
    constexpr double kMillisecond = 1e-3;
    return begin.elapsedTime(end) * kMillisecond;
  }

  void copy(const at::Tensor& destination, const at::Tensor& source) override {
    destination.copy_(source, /*non_blocking=*/true);
  }

 private:
  c10::DeviceGuard guard_;
};

}  // namespace

std::unique_ptr<BenchDevice> make_accelerator_bench_device(at::Device device) {
  return std::make_unique<AcceleratorBenchDevice>(device);
}

}  // namespace moesaic::trainer
