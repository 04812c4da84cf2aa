// Stacks and the switch between them: what a CUDA thread runs on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/cuda/emulation/happens_before.h"

namespace moesaic::kernels::cuda::emulation {

/// A stack with the registers of whoever waits on it. The launching thread has one without a stack
/// of ours.
struct Fiber {
  void* stack_pointer = nullptr;  // of the suspended code
  char* bottom = nullptr;         // lowest address of the stack
  size_t size = 0;
  char* top = nullptr;         // where a new function starts, 16-byte aligned
  void* fake_stack = nullptr;  // AddressSanitizer's
  Fiber* next_made = nullptr;  // of the pool
  Fiber* next_free = nullptr;
};

/// ThreadSanitizer's idea of a thread; null in other builds.
using Identity = void*;
Identity current_identity();
/// Goes on as another thread on the stack where we are, without any memory order between the two.
void become(Identity identity);

/// Leaves `from` and goes on in `to` as `identity`; returns when somebody switches back.
void switch_fiber(Fiber& from, Fiber& to, Identity identity);
/// The same, never to return: the stack of `from` may be started anew from then on.
[[noreturn]] void leave_fiber(Fiber& from, Fiber& to, Identity identity);

/// Makes `fiber` start with `function` when it is switched to. `function` calls fiber_started()
/// first and never returns.
void prepare_fiber(Fiber& fiber, void (*function)());
/// `launcher`: the launching thread's fiber, whose bounds are noted if that is where we came from.
void fiber_started(Fiber& launcher);

/// Drops what ThreadSanitizer knows of a stack: a new thread starts on it.
void forget_accesses(const Fiber& fiber);

/// The stacks of the process, made when first needed (256 KiB with a guard page; untouched pages
/// cost nothing) and reused by all launches.
class FiberPool {
 public:
  Fiber& take();
  void give_back(Fiber& fiber);
  /// Takes all back, also those whose code was left in the middle.
  void reclaim();

 private:
  Fiber* last_made_ = nullptr;
  size_t num_made_ = 0;
  Fiber* first_free_ = nullptr;
};

/// ThreadSanitizer's threads for the threads of the blocks, reused since a new one costs a
/// millisecond. What one has learned in a block it knows ever after, so the next blocks of the
/// launch take other ones; after kNumIdentities threads they come round again. Nothing in other
/// builds.
class IdentityPool {
 public:
  /// For the `turn`-th block of a launch to run: its threads' identities are of_block(turn)[t].
  void start_launch(int num_threads);
  Identity* of_block(uint64_t turn);
  /// All identities of this launch release into `order`, on the launching thread's stack.
  void release_all(HappensBefore& order, Identity launcher);
  /// Discards all: some were left in the middle of a kernel.
  void discard();

 private:
  static constexpr int kNumIdentities = 1024;
  int num_threads_ = 0;
  int num_blocks_ = 0;  // that have different identities
  int num_used_ = 0;
  std::vector<Identity> all_;
};

}  // namespace moesaic::kernels::cuda::emulation
