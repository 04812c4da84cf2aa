#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>

#include "trainer/bench/bench_device.h"

namespace moesaic::trainer {
namespace {

constexpr int64_t kLeastFlushBytes = int64_t{64} << 20;  // where the machine hides its caches
constexpr int64_t kMostFlushBytes = int64_t{1} << 30;

int64_t flush_bytes() {
  return std::clamp<int64_t>(2 * sysconf(_SC_LEVEL3_CACHE_SIZE), kLeastFlushBytes, kMostFlushBytes);
}

class CpuBenchDevice : public BenchDevice {
 public:
  CpuBenchDevice() : BenchDevice(at::kCPU, flush_bytes()) {}

  std::string description() const override {
    return fmt::format("cpu, {} thread{}", at::get_num_threads(),
                       at::get_num_threads() == 1 ? "" : "s");
  }

  double time(const std::function<void()>& body) override {
    const auto began = std::chrono::steady_clock::now();
    body();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  }

  void copy(const at::Tensor& destination, const at::Tensor& source) override {
    // memcpy writes large blocks around the caches, which saves reading what is overwritten: no
    // loop of ours is faster, so no fraction is flattered.
    auto* to = static_cast<char*>(destination.mutable_data_ptr());
    const auto* from = static_cast<const char*>(source.const_data_ptr());
    at::parallel_for(0, static_cast<int64_t>(source.nbytes()), /*grain_size=*/1 << 20,
                     [&](int64_t begin, int64_t end) {
                       std::memcpy(to + begin, from + begin, static_cast<size_t>(end - begin));
                     });
  }
};

}  // namespace

std::unique_ptr<BenchDevice> make_cpu_bench_device() {
  return std::make_unique<CpuBenchDevice>();
}

}  // namespace moesaic::trainer
