// The choice of the next thread, made by an Order at each point where threads may change.
#pragma once

#include <array>
#include <cstdint>

#include "kernels/cuda/emulation/order.h"

namespace moesaic::kernels::cuda::emulation {

constexpr int kWarpSize = 32;
constexpr int kMaxThreads = 1024;
constexpr int kMaxWarps = kMaxThreads / kWarpSize;

/// The threads of a block that can run: one word a warp, bit = lane.
using RunnableThreads = std::array<uint32_t, kMaxWarps>;

/// The order in force, and the number of this launch since set_order (so that draws repeat).
Order order_of_next_launch(uint64_t& launch);

/// Draws of one launch. Costs a few nanoseconds a choice.
class ThreadOrder {
 public:
  ThreadOrder(const Order& order, uint64_t launch, uint64_t num_blocks);

  /// The linear index of the i-th block to run: a permutation of 0 ... num_blocks - 1.
  uint64_t block_at(uint64_t i) const;

  void start_block(int num_warps);

  /// The next thread to run, or -1 if none can.
  int choose(const RunnableThreads& runnable);

  /// Called when a block passes a barrier, and when a thread could hand over without waiting.
  void passed_barrier();
  void passed_point(int thread);

  /// Whether the thread that comes to an atomic operation hands over there.
  bool yields_at_atomic();

 private:
  uint64_t draw();
  void draw_priorities();
  int choose_any(const RunnableThreads& runnable);
  int choose_by_priority(const RunnableThreads& runnable) const;

  Order order_;
  uint64_t state_;
  uint64_t num_blocks_;
  uint64_t block_stride_ = 1;
  uint64_t block_shift_ = 0;
  int num_warps_ = 0;
  std::array<uint8_t, kMaxWarps> warp_by_rank_{};  // highest priority first
  uint32_t lanes_descend_ = 0;                     // bit = warp
};

}  // namespace moesaic::kernels::cuda::emulation
