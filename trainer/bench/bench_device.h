// How a device is timed. The CPU by a clock; any accelerator of LibTorch by events on its stream,
// through c10's device-generic interface: nothing here includes CUDA, and a build without CUDA
// fails at run time, with a message, not at link time.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace moesaic::trainer {

class BenchDevice {
 public:
  virtual ~BenchDevice() = default;

  /// Where the tensors live.
  at::Device device() const { return device_; }
  /// "cpu, 2 threads" or "cuda:0".
  virtual std::string description() const = 0;
  /// Seconds from the start of `body` until all that it began is done.
  virtual double time(const std::function<void()>& body) = 0;
  /// The fastest copy between two contiguous tensors of the same size that do not overlap.
  virtual void copy(const at::Tensor& destination, const at::Tensor& source) = 0;
  /// Evicts from the last cache what earlier work has left there. Not to be timed.
  void flush_caches();

 protected:
  /// flush_bytes: at least twice the last cache.
  BenchDevice(at::Device device, int64_t flush_bytes);

 private:
  at::Device device_;
  at::Tensor flush_;
};

/// Throws ExitError(kConfiguration) for a device that this build or machine has not.
std::unique_ptr<BenchDevice> make_bench_device(at::Device device);

/// A clock: what is timed has ended when it returns.
std::unique_ptr<BenchDevice> make_cpu_bench_device();

/// Events on the current stream. Host time counts only where the device waits for it.
std::unique_ptr<BenchDevice> make_accelerator_bench_device(at::Device device);

}  // namespace moesaic::trainer
