#include "kernels/cuda/emulation/fiber.h"

#include <sys/mman.h>

#include <cstdint>
#include <new>
#include <utility>

#include "kernels/cuda/emulation/happens_before.h"

#ifndef __x86_64__
#error "the switch between fibers is written for x86-64"
#endif

#ifdef MOESAIC_EMULATION_ASAN
extern "C" {
void __sanitizer_start_switch_fiber(void** fake_stack, const void* bottom, size_t size);
void __sanitizer_finish_switch_fiber(void* fake_stack, const void** bottom, size_t* size);
void __asan_unpoison_memory_region(const volatile void* address, size_t size);
}
#endif
#ifdef MOESAIC_EMULATION_TSAN
extern "C" {
void* __tsan_get_current_fiber();
void* __tsan_create_fiber(unsigned flags);
void __tsan_destroy_fiber(void* fiber);
void __tsan_switch_to_fiber(void* fiber, unsigned flags);
}
#endif

// System V: rbx, rbp, r12-r15 belong to the caller. Nobody here changes the rounding mode for long.
extern "C" void moesaic_switch_stack(void** from, void* to);
asm(R"(
.text
.p2align 4
.globl moesaic_switch_stack
.hidden moesaic_switch_stack
.type moesaic_switch_stack, @function
moesaic_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size moesaic_switch_stack, .-moesaic_switch_stack
)");

namespace moesaic::kernels::cuda::emulation {
namespace {

constexpr size_t kStackBytes = 256 * 1024;
constexpr size_t kGuardBytes = 4096;
// Kernels stay above this depth; what lies below is the sanitizer's when it writes its report.
[[maybe_unused]] constexpr size_t kWatchedBytes = 32 * 1024;

// The struct stands above its stack: a thread that needs a stack allocates nothing else, which
// ThreadSanitizer would watch.
Fiber& make_fiber(size_t index) {
  static_assert(sizeof(Fiber) <= 128);
  void* memory = mmap(nullptr, kGuardBytes + kStackBytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
  if (memory == MAP_FAILED || mprotect(memory, kGuardBytes, PROT_NONE) != 0) {
    throw std::bad_alloc();
  }
  char* bottom = static_cast<char*>(memory) + kGuardBytes;
  auto* fiber = new (bottom + kStackBytes - 128) Fiber;
  fiber->bottom = bottom;
  fiber->size = kStackBytes - 128;
  // Tops at different offsets in their pages: else all stacks share a few lines of the cache.
  fiber->top = bottom + kStackBytes - 256 - index % 32 * 192;
  return *fiber;
}

}  // namespace

#ifdef MOESAIC_EMULATION_TSAN
namespace {
constexpr unsigned kNoOrder = 1;  // __tsan_switch_to_fiber_no_sync
}
Identity current_identity() {
  return __tsan_get_current_fiber();
}
void become(Identity identity) {
  __tsan_switch_to_fiber(identity, kNoOrder);
}
#else
Identity current_identity() {
  return nullptr;
}
void become(Identity) {}
#endif

void switch_fiber(Fiber& from, Fiber& to, Identity identity) {
#ifdef MOESAIC_EMULATION_ASAN
  __sanitizer_start_switch_fiber(&from.fake_stack, to.bottom, to.size);
#endif
  become(identity);
  moesaic_switch_stack(&from.stack_pointer, to.stack_pointer);
#ifdef MOESAIC_EMULATION_ASAN
  __sanitizer_finish_switch_fiber(from.fake_stack, nullptr, nullptr);
#endif
}

void leave_fiber(Fiber& from, Fiber& to, Identity identity) {
#ifdef MOESAIC_EMULATION_ASAN
  __sanitizer_start_switch_fiber(nullptr, to.bottom, to.size);
#endif
  become(identity);
  moesaic_switch_stack(&from.stack_pointer, to.stack_pointer);
  __builtin_unreachable();
}

void prepare_fiber(Fiber& fiber, void (*function)()) {
  // As a call leaves it: the return address above 6 registers, the stack 8 off a multiple of 16.
  auto* frame = reinterpret_cast<uintptr_t*>(fiber.top) - 8;
  for (int i = 0; i < 8; ++i) {
    frame[i] = 0;
  }
  frame[6] = reinterpret_cast<uintptr_t>(function);
  fiber.stack_pointer = frame;
  fiber.fake_stack = nullptr;
}

void fiber_started([[maybe_unused]] Fiber& launcher) {
#ifdef MOESAIC_EMULATION_ASAN
  const void* bottom = nullptr;
  size_t size = 0;
  __sanitizer_finish_switch_fiber(nullptr, &bottom, &size);
  if (!launcher.bottom) {
    launcher.bottom = static_cast<char*>(const_cast<void*>(bottom));
    launcher.size = size;
  }
#endif
}

void forget_accesses([[maybe_unused]] const Fiber& fiber) {
#ifdef MOESAIC_EMULATION_TSAN
  forget_accesses(fiber.bottom + fiber.size - kWatchedBytes, kWatchedBytes);
#endif
}

Fiber& FiberPool::take() {
  if (first_free_) {
    return *std::exchange(first_free_, first_free_->next_free);
  }
  Fiber& fiber = make_fiber(num_made_++);
  fiber.next_made = std::exchange(last_made_, &fiber);
  return fiber;
}

void FiberPool::give_back(Fiber& fiber) {
  fiber.next_free = std::exchange(first_free_, &fiber);
}

void FiberPool::reclaim() {
  first_free_ = nullptr;
  for (Fiber* fiber = last_made_; fiber; fiber = fiber->next_made) {
    give_back(*fiber);
#ifdef MOESAIC_EMULATION_ASAN
    // Frames that were left in the middle still have their red zones.
    __asan_unpoison_memory_region(fiber->bottom, fiber->size);
#endif
  }
}

}  // namespace moesaic::kernels::cuda::emulation
