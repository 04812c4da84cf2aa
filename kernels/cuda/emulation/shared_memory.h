// The shared memory of the running block: one at a time, so one copy of each variable serves.
#pragma once

#include <cstddef>

namespace moesaic::kernels::cuda::emulation {

/// All __shared__ variables of the program and the dynamic shared memory of a launch.
class SharedMemory {
 public:
  SharedMemory() = default;
  ~SharedMemory();
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;

  /// Exactly `size` bytes, aligned to 16, so that AddressSanitizer sees the first byte beyond.
  void allocate_dynamic(size_t size);
  void* dynamic() const { return dynamic_; }
  size_t dynamic_size() const { return dynamic_size_; }

  /// Fills all of it with 0xFF (floats are NaN, ints -1): what a block finds is no other's.
  void poison();

 private:
  void* dynamic_ = nullptr;
  size_t dynamic_size_ = 0;
};

/// Writes 0xFF, unseen by sanitizers.
void poison_bytes(void* begin, size_t size);

}  // namespace moesaic::kernels::cuda::emulation
