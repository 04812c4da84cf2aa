#include "kernels/cuda/emulation/device_interface.h"

#include <mutex>
#include <stdexcept>

#include "kernels/cuda/emulation/block.h"
#include "kernels/cuda/kernel_registry.h"
#include "kernels/cuda/launch_limits.h"

namespace moesaic::kernels::cuda::emulation {
namespace {

std::string in_brackets(const dim3& extent) {
  return "(" + std::to_string(extent.x) + ", " + std::to_string(extent.y) + ", " +
         std::to_string(extent.z) + ")";
}

// The limits of every architecture that we build for.
void check_limits(const void* kernel, const dim3& grid, const dim3& block, size_t shared_bytes) {
  const auto refuse = [&](const std::string& why) {
    throw std::runtime_error("launch of " + kernel_name(kernel) + ": " + why);
  };
  const uint64_t num_threads = uint64_t{block.x} * block.y * block.z;
  if (num_threads == 0 || num_threads > kMaxThreads || block.z > 64) {
    refuse("invalid block " + in_brackets(block) + ", 1 to 1024 threads and z up to 64");
  }
  if (uint64_t{grid.x} * grid.y * grid.z == 0 || grid.x > 0x7FFFFFFF || grid.y > 0xFFFF ||
      grid.z > 0xFFFF) {
    refuse("invalid grid " + in_brackets(grid) + ", none may be 0, y and z up to 65535");
  }
  if (shared_bytes > kMaxSharedBytes) {
    refuse(std::to_string(shared_bytes) + " bytes of dynamic shared memory, at most " +
           std::to_string(kMaxSharedBytes));
  }
}

}  // namespace

void run_kernel(const void* kernel, dim3 grid, dim3 extent, size_t dynamic_shared_bytes,
                const void* call, void (*run)(const void* call)) {
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  check_limits(kernel, grid, extent, dynamic_shared_bytes);
  uint64_t launch_number = 0;
  const Order named = order_of_next_launch(launch_number);
  ThreadOrder order(named, launch_number, uint64_t{grid.x} * grid.y * grid.z);
  block().shared().allocate_dynamic(dynamic_shared_bytes);
  const Launch launch{kernel, grid, extent, call, run};
  block().run_grid(launch, order);
}

void* dynamic_shared_memory() {
  return block().shared().dynamic();
}

int block_barrier(BarrierKind kind, int predicate, const char* file, int line) {
  return block().barrier(kind, predicate, {file, line});
}

uint64_t warp_operation(WarpOperation operation, unsigned mask, uint64_t value, unsigned argument,
                        int width, const char* file, int line) {
  return block().warp_operation(operation, mask, value, argument, width, {file, line});
}

void memory_fence(const char* file, int line) {
  block().fence({file, line});
}

void atomic_point(const char* file, int line) {
  block().atomic_point({file, line});
}

void trap(const char* file, int line) {
  block().fault("__trap()", {file, line});
}

}  // namespace moesaic::kernels::cuda::emulation
