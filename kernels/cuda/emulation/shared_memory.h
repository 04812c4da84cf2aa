// The shared memory of the running block: one at a time, so one copy of each variable serves.
#pragma once

#include <cstddef>
#include <cstdint>

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

  /// Fills all of it with the poison of that block: what a block finds is no other's.
  void poison(uint64_t linear_block);

 private:
  void* dynamic_ = nullptr;
  size_t dynamic_size_ = 0;
};

/// Floats are NaN, ints -1.
inline constexpr unsigned char kPoison = 0xFF;
/// Of every other block: floats are 1.5e16, ints 1.5e9. What is right by chance in one block is not
/// in the next.
inline constexpr unsigned char kOtherPoison = 0x5A;

/// Unseen by sanitizers.
void poison_bytes(void* begin, size_t size, unsigned char poison = kPoison);

}  // namespace moesaic::kernels::cuda::emulation
