// In which order the threads of a block, and the blocks of a grid, run.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace moesaic::kernels::cuda::emulation {

/// A named order. Every order is fair to CUDA: a correct kernel gives the same bits in each.
///
/// forward, reverse: the lowest (highest) thread that can run does, until it waits; blocks ascend
/// (descend). random: at each barrier, warp operation and now and then an atomic, any thread that
/// can run is drawn; blocks in a drawn order. priorities: warps have drawn strict priorities,
/// drawn anew at barriers, and the running warp sometimes falls to the lowest (probabilistic
/// concurrency testing, Burckhardt et al., ASPLOS 2010): finds what needs one warp far ahead.
struct Order {
  enum class Kind { kForward, kReverse, kRandom, kPriorities };
  Kind kind = Kind::kForward;
  uint64_t seed = 0;

  /// "forward", "reverse", "random:3", "pct:1"; the seed may be left out (0).
  /// Throws std::invalid_argument that lists these.
  static Order parse(const std::string& text);
  std::string name() const;
  bool operator==(const Order&) const = default;
};

/// The order of all launches from now on, in all threads of the process. The draws start anew.
/// Without a call: the environment's MOESAIC_CUDA_EMULATION_ORDER, else forward.
void set_order(const Order& order);
Order current_order();

/// forward, reverse, random:1, random:2, pct:1 ... pct:4: what a kernel's test runs in.
const std::vector<Order>& eight_orders();

}  // namespace moesaic::kernels::cuda::emulation
