#include "kernels/cuda/emulation/thread_order.h"

#include <bit>
#include <numeric>
#include <utility>

namespace moesaic::kernels::cuda::emulation {
namespace {

int lowest_lane(uint32_t lanes) {
  return std::countr_zero(lanes);
}
int highest_lane(uint32_t lanes) {
  return 31 - std::countl_zero(lanes);
}

int nth_lane(uint32_t lanes, int n) {
  for (; n > 0; --n) {
    lanes &= lanes - 1;
  }
  return lowest_lane(lanes);
}

// The output function of splitmix64 (Steele, Lea, Flood, OOPSLA 2014).
uint64_t mixed(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

}  // namespace

ThreadOrder::ThreadOrder(const Order& order, uint64_t launch, uint64_t num_blocks)
    : order_(order), state_(mixed(mixed(order.seed + 1) + launch)), num_blocks_(num_blocks) {
  if (order.kind == Order::Kind::kRandom || order.kind == Order::Kind::kPriorities) {
    // An affine map with a multiplier prime to the number of blocks: a permutation without a table.
    do {
      block_stride_ = draw() % num_blocks + 1;
    } while (std::gcd(block_stride_, num_blocks) != 1);
    block_shift_ = draw() % num_blocks;
  }
}

uint64_t ThreadOrder::block_at(uint64_t i) const {
  switch (order_.kind) {
    case Order::Kind::kForward:
      return i;
    case Order::Kind::kReverse:
      return num_blocks_ - 1 - i;
    default:
      return static_cast<uint64_t>(
          (static_cast<unsigned __int128>(block_stride_) * i + block_shift_) % num_blocks_);
  }
}

void ThreadOrder::start_block(int num_warps) {
  num_warps_ = num_warps;
  if (order_.kind == Order::Kind::kPriorities) {
    draw_priorities();
  }
}

int ThreadOrder::choose(const RunnableThreads& runnable) {
  switch (order_.kind) {
    case Order::Kind::kForward:
      for (int w = 0; w < num_warps_; ++w) {
        if (runnable[w]) {
          return w * kWarpSize + lowest_lane(runnable[w]);
        }
      }
      return -1;
    case Order::Kind::kReverse:
      for (int w = num_warps_ - 1; w >= 0; --w) {
        if (runnable[w]) {
          return w * kWarpSize + highest_lane(runnable[w]);
        }
      }
      return -1;
    case Order::Kind::kRandom:
      return choose_any(runnable);
    default:
      return choose_by_priority(runnable);
  }
}

int ThreadOrder::choose_any(const RunnableThreads& runnable) {
  int num_runnable = 0;
  for (int w = 0; w < num_warps_; ++w) {
    num_runnable += std::popcount(runnable[w]);
  }
  if (num_runnable == 0) {
    return -1;
  }
  int n = static_cast<int>(draw() % static_cast<uint64_t>(num_runnable));
  int w = 0;
  for (; n >= std::popcount(runnable[w]); ++w) {
    n -= std::popcount(runnable[w]);
  }
  return w * kWarpSize + nth_lane(runnable[w], n);
}

int ThreadOrder::choose_by_priority(const RunnableThreads& runnable) const {
  for (int rank = 0; rank < num_warps_; ++rank) {
    const int w = warp_by_rank_[rank];
    if (runnable[w]) {
      const bool descends = lanes_descend_ >> w & 1;
      return w * kWarpSize + (descends ? highest_lane(runnable[w]) : lowest_lane(runnable[w]));
    }
  }
  return -1;
}

void ThreadOrder::passed_barrier() {
  if (order_.kind == Order::Kind::kPriorities) {
    draw_priorities();
  }
}

// One point in sixteen costs the running warp its rank.
void ThreadOrder::passed_point(int thread) {
  if (order_.kind != Order::Kind::kPriorities || draw() % 16 != 0) {
    return;
  }
  for (int rank = 0; rank + 1 < num_warps_; ++rank) {
    if (warp_by_rank_[rank] == thread / kWarpSize) {
      std::swap(warp_by_rank_[rank], warp_by_rank_[rank + 1]);
    }
  }
  lanes_descend_ ^= 1u << (thread / kWarpSize);
}

bool ThreadOrder::yields_at_atomic() {
  const bool may = order_.kind == Order::Kind::kRandom || order_.kind == Order::Kind::kPriorities;
  return may && draw() % 8 == 0;
}

void ThreadOrder::draw_priorities() {
  std::iota(warp_by_rank_.begin(), warp_by_rank_.begin() + num_warps_, uint8_t{0});
  for (int i = num_warps_ - 1; i > 0; --i) {
    std::swap(warp_by_rank_[i], warp_by_rank_[draw() % static_cast<uint64_t>(i + 1)]);
  }
  lanes_descend_ = static_cast<uint32_t>(draw());
}

uint64_t ThreadOrder::draw() {
  return mixed(state_ += 0x9E3779B97F4A7C15u);
}

}  // namespace moesaic::kernels::cuda::emulation
