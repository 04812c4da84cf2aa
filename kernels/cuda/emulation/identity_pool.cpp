#include <algorithm>

#include "kernels/cuda/emulation/fiber.h"

#ifdef MOESAIC_EMULATION_TSAN
extern "C" {
void* __tsan_create_fiber(unsigned flags);
void __tsan_destroy_fiber(void* fiber);
}
#endif

namespace moesaic::kernels::cuda::emulation {

void IdentityPool::start_launch(int num_threads) {
  num_threads_ = num_threads;
  num_blocks_ = std::max(2, kNumIdentities / num_threads);
  num_used_ = 0;
}

Identity* IdentityPool::of_block(uint64_t turn) {
  const int first = static_cast<int>(turn % static_cast<uint64_t>(num_blocks_)) * num_threads_;
  num_used_ = std::max(num_used_, first + num_threads_);
  while (static_cast<int>(all_.size()) < num_used_) {
#ifdef MOESAIC_EMULATION_TSAN
    all_.push_back(__tsan_create_fiber(0));
#else
    all_.push_back(nullptr);
#endif
  }
  return all_.data() + first;
}

void IdentityPool::release_all([[maybe_unused]] HappensBefore& order,
                               [[maybe_unused]] Identity launcher) {
#ifdef MOESAIC_EMULATION_TSAN
  for (int i = 0; i < num_used_; ++i) {
    become(all_[i]);
    order.release();
  }
  become(launcher);
#endif
}

void IdentityPool::discard() {
#ifdef MOESAIC_EMULATION_TSAN
  for (const auto identity : all_) {
    __tsan_destroy_fiber(identity);
  }
#endif
  all_.clear();
}

}  // namespace moesaic::kernels::cuda::emulation
