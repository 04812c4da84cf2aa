#include "kernels/cuda/emulation/shared_memory.h"

#include <cstdlib>
#include <new>

#include "kernels/cuda/emulation/happens_before.h"

// From shared_memory.ld.
extern "C" {
extern char __start_moesaic_shared[];
extern char __stop_moesaic_shared[];
}

namespace moesaic::kernels::cuda::emulation {

SharedMemory::~SharedMemory() {
  std::free(dynamic_);
}

void SharedMemory::allocate_dynamic(size_t size) {
  if (size == dynamic_size_) {
    return;
  }
  std::free(dynamic_);
  dynamic_ = size ? std::malloc(size) : nullptr;
  dynamic_size_ = size;
  if (size && !dynamic_) {
    throw std::bad_alloc();
  }
}

void SharedMemory::poison(uint64_t linear_block) {
  const unsigned char poison = linear_block % 2 == 0 ? kPoison : kOtherPoison;
  const auto static_size = static_cast<size_t>(__stop_moesaic_shared - __start_moesaic_shared);
  poison_bytes(__start_moesaic_shared, static_size, poison);
  forget_accesses(__start_moesaic_shared, static_size);
  if (dynamic_) {
    poison_bytes(dynamic_, dynamic_size_, poison);
    forget_accesses(dynamic_, dynamic_size_);
  }
}

// Not memset: AddressSanitizer intercepts that, and the red zones between variables are in the way.
void poison_bytes(void* begin, size_t size, unsigned char poison) {
  asm volatile("rep stosb" : "+D"(begin), "+c"(size) : "a"(poison) : "memory");
}

}  // namespace moesaic::kernels::cuda::emulation
