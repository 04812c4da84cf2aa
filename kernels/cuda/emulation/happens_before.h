// Tells ThreadSanitizer which thread knows what another has done. Nothing in other builds.
//
// The emulation itself is compiled without -fsanitize=thread: only kernels are watched. A cell is
// an atomic of the sanitizer's interface, called by hand.
#pragma once

#include <cstddef>

#ifdef MOESAIC_EMULATION_TSAN
extern "C" {
void __tsan_java_alloc(unsigned long begin, unsigned long size);
void __tsan_java_acquire(unsigned long address);
void __tsan_java_release(unsigned long address);
void __tsan_java_release_store(unsigned long address);
}
#endif

namespace moesaic::kernels::cuda::emulation {

/// What the threads that released it had done before; a thread that acquires it knows of that.
class HappensBefore {
 public:
#ifdef MOESAIC_EMULATION_TSAN
  /// Forgets all earlier releases, then releases.
  void release_first() {
    __tsan_java_release_store(address());
  }
  void release() {
    __tsan_java_release(address());
  }
  void acquire() {
    __tsan_java_acquire(address());
  }

 private:
  unsigned long address() {
    return reinterpret_cast<unsigned long>(&cell_);
  }
  alignas(8) unsigned long cell_ = 0;
#else
  void release_first() {}
  void release() {}
  void acquire() {}
#endif
};

/// Drops what is known of accesses to a piece of memory: it stands for a new one at the same place
/// (the shared memory of the next block, the stack of the next thread).
inline void forget_accesses([[maybe_unused]] void* begin, [[maybe_unused]] size_t size) {
#ifdef MOESAIC_EMULATION_TSAN
  const auto address = (reinterpret_cast<unsigned long>(begin) + 7) / 8 * 8;
  __tsan_java_alloc(address, (size + 7) / 8 * 8);
#endif
}

}  // namespace moesaic::kernels::cuda::emulation
