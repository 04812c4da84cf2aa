#include "kernels/cuda/emulation/block.h"

#include <algorithm>
#include <utility>

#include "kernels/cuda/kernel_registry.h"

// What device_launch_parameters.h declares to kernels as constants. Here they change with the
// thread: a thread that is switched to finds its own values, so to it they are constant indeed.
extern "C" {
uint3 threadIdx;
uint3 blockIdx;
dim3 blockDim;
dim3 gridDim;
int warpSize = moesaic::kernels::cuda::emulation::kWarpSize;
}

namespace moesaic::kernels::cuda::emulation {
namespace {

uint3 index_in(uint64_t linear, const dim3& extent) {
  const uint64_t row = linear / extent.x;
  return {static_cast<unsigned>(linear % extent.x), static_cast<unsigned>(row % extent.y),
          static_cast<unsigned>(row / extent.y)};
}

int num_warps_of(int num_threads) {
  return (num_threads + kWarpSize - 1) / kWarpSize;
}

}  // namespace

Block& block() {
  static Block instance;
  return instance;
}

void Block::run_grid(const Launch& launch, ThreadOrder& order) {
  launch_ = &launch;
  order_ = &order;
  gridDim = launch.grid;
  blockDim = launch.block;
  prepare_threads();
  fence_order_.release_first();
  const uint64_t num_blocks = uint64_t{launch.grid.x} * launch.grid.y * launch.grid.z;
  for (uint64_t i = 0; i < num_blocks && !fault_ && !exception_; ++i) {
    run_block(order.block_at(i), identities_.of_block(i));
  }
  launch_order_.release_first();
  identities_.release_all(launch_order_, launcher_identity_);
  launch_order_.acquire();
  if (fault_ || exception_) {
    abandon();
  }
}

void Block::prepare_threads() {
  launcher_ = Fiber{};
  launcher_identity_ = current_identity();
  num_threads_ = static_cast<int>(launch_->block.x * launch_->block.y * launch_->block.z);
  identities_.start_launch(num_threads_);
  for (int t = 0; t < num_threads_; ++t) {
    threads_[t].index = index_in(static_cast<uint64_t>(t), launch_->block);
  }
}

void Block::fresh_block(int num_warps) {
  num_exited_ = 0;
  first_exited_ = -1;
  num_idle_atomics_ = 0;
  barrier_.num_arrived = 0;
  for (int w = 0; w < num_warps; ++w) {
    const int num_lanes = std::min(kWarpSize, num_threads_ - w * kWarpSize);
    warps_[w].lanes = ~0u >> (kWarpSize - num_lanes);
    warps_[w].exited = warps_[w].open = warps_[w].used = 0;
    runnable_[w] = warps_[w].lanes;
  }
  for (int t = 0; t < num_threads_; ++t) {
    threads_[t].fiber = nullptr;
    threads_[t].waits_in = nullptr;
  }
}

// Blocks know nothing of each other: each starts from the launching thread's past alone.
void Block::run_block(uint64_t linear_block, Identity* identities) {
  const int num_warps = num_warps_of(num_threads_);
  blockIdx = index_in(linear_block, launch_->grid);
  shared_.poison(linear_block);
  fresh_block(num_warps);
  for (int t = 0; t < num_threads_; ++t) {
    threads_[t].identity = identities[t];
  }
  order_->start_block(num_warps);
  launch_order_.release_first();
  const int first = order_->choose(runnable_);
  start_on_new_stack(first);
  enter(first);
  switch_fiber(launcher_, *threads_[first].fiber, threads_[first].identity);
}

// After a fault or an exception: stacks are left as they stand, destructors on them do not run.
void Block::abandon() {
  fibers_.reclaim();
  identities_.discard();
  if (auto exception = std::exchange(exception_, nullptr)) {
    fault_.reset();
    std::rethrow_exception(exception);
  }
  const KernelFault fault = *fault_;
  fault_.reset();
  throw fault;
}

// What a stack runs: one thread after the other, until a thread that waits elsewhere is next.
void Block::run_threads() {
  Block& self = block();
  fiber_started(self.launcher_);
  for (;;) {
    self.launch_order_.acquire();
    try {
      self.launch_->run(self.launch_->call);
    } catch (...) {
      self.exception_ = std::current_exception();
    }
    if (self.exception_) {
      self.return_to_launcher();
    }
    self.end_thread();
  }
}

// Returns if the next thread starts on this stack.
void Block::end_thread() {
  const int thread = current_;
  check_nobody_waits_for(thread);
  got_on();
  if (num_exited_++ == 0) {
    first_exited_ = thread;
  }
  warps_[thread / kWarpSize].exited |= 1u << thread % kWarpSize;
  runnable_[thread / kWarpSize] &= ~(1u << thread % kWarpSize);
  const int next = order_->choose(runnable_);
  if (next < 0 && num_exited_ < num_threads_) {
    fault_of_deadlock();
  }
  Fiber& fiber = *std::exchange(threads_[thread].fiber, nullptr);
  if (next >= 0 && !threads_[next].fiber) {
    start(next, fiber);
    enter(next);
    become(threads_[next].identity);
    return;
  }
  fibers_.give_back(fiber);
  if (next < 0) {
    leave_fiber(fiber, launcher_, launcher_identity_);
  }
  enter(next);
  leave_fiber(fiber, *threads_[next].fiber, threads_[next].identity);
}

void Block::return_to_launcher() {
  leave_fiber(*threads_[current_].fiber, launcher_, launcher_identity_);
}

void Block::start(int thread, Fiber& fiber) {
  forget_accesses(fiber);
  threads_[thread].fiber = &fiber;
}

void Block::start_on_new_stack(int thread) {
  start(thread, fibers_.take());
  prepare_fiber(*threads_[thread].fiber, &Block::run_threads);
}

void Block::enter(int thread) {
  current_ = thread;
  threadIdx = threads_[thread].index;
}

void Block::change_to(int next) {
  Thread& from = threads_[current_];
  Thread& to = threads_[next];
  if (!to.fiber) {
    start_on_new_stack(next);
  }
  enter(next);
  switch_fiber(*from.fiber, *to.fiber, to.identity);
}

void Block::wait(const char* operation, unsigned mask, Site site) {
  const int thread = current_;
  Thread& self = threads_[thread];
  self.waits_in = operation;
  self.mask = mask;
  self.site = site;
  runnable_[thread / kWarpSize] &= ~(1u << thread % kWarpSize);
  const int next = order_->choose(runnable_);
  if (next < 0) {
    fault_of_deadlock();
  }
  change_to(next);
  self.waits_in = nullptr;
}

void Block::hand_over() {
  order_->passed_point(current_);
  const int next = order_->choose(runnable_);
  if (next != current_) {
    change_to(next);
  }
}

void Block::fence(Site /*site*/) {
  fence_order_.acquire();
  fence_order_.release();
}

// A thread that spins on what another has to write must let that one run, whatever the order says.
void Block::atomic_point(Site site) {
  constexpr uint64_t kPatience = 4096;
  constexpr uint64_t kMostIdleAtomics = uint64_t{1} << 24;
  ++num_idle_atomics_;
  if (num_idle_atomics_ > kMostIdleAtomics) {
    fault("livelock: " + std::to_string(kMostIdleAtomics) +
              " atomic operations, and no thread of the block got on (blocks run one at a time)",
          site);
  }
  if (num_idle_atomics_ % kPatience == 0) {
    for (int i = 1; i < num_threads_; ++i) {
      const int next = (current_ + i) % num_threads_;
      if (runnable_[next / kWarpSize] >> next % kWarpSize & 1) {
        change_to(next);
        return;
      }
    }
  } else if (order_->yields_at_atomic()) {
    hand_over();
  }
}

}  // namespace moesaic::kernels::cuda::emulation
