#include "kernels/cuda/emulation/order.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <set>
#include <stdexcept>
#include <vector>

#include "tests/kernels/cuda/emulation/atomic_kernels.h"
#include "tests/kernels/cuda/for_each_order.h"

MOESAIC_KERNEL_TEST(note_order)

namespace moesaic::tests {
namespace {

using kernels::cuda::emulation::eight_orders;
using kernels::cuda::emulation::Order;
using kernels::cuda::emulation::set_order;

// The rank at which each thread of 6 blocks of 64 came.
std::vector<unsigned> ranks(const Order& order, int num_launches = 1) {
  std::vector<unsigned> rank(6 * 64, ~0u);
  set_order(order);
  for (int i = 0; i < num_launches; ++i) {
    unsigned counter = 0;
    run_note_order(6, 64, &counter, rank.data());
  }
  set_order({});
  return rank;
}

TEST(EmulationOrders, ForwardAndReverse) {
  std::vector<unsigned> ascending(6 * 64);
  std::iota(ascending.begin(), ascending.end(), 0u);
  EXPECT_EQ(ranks(Order::parse("forward")), ascending);
  std::reverse(ascending.begin(), ascending.end());
  EXPECT_EQ(ranks(Order::parse("reverse")), ascending);
}

TEST(EmulationOrders, EachIsAPermutationOfAllThreads) {
  for (const auto& order : eight_orders()) {
    const auto rank = ranks(order);
    EXPECT_EQ(std::set<unsigned>(rank.begin(), rank.end()).size(), rank.size()) << order.name();
  }
}

TEST(EmulationOrders, EightDifferentOnesThatRepeat) {
  std::set<std::vector<unsigned>> different;
  for (const auto& order : eight_orders()) {
    different.insert(ranks(order));
    EXPECT_EQ(ranks(order), ranks(order)) << order.name();
  }
  EXPECT_EQ(different.size(), 8);
}

// With the same draws in each launch a loop of launches would see one schedule only.
TEST(EmulationOrders, LaunchesDrawAnew) {
  EXPECT_NE(ranks(Order::parse("random:1"), 1), ranks(Order::parse("random:1"), 2));
  EXPECT_NE(ranks(Order::parse("pct:1"), 1), ranks(Order::parse("pct:1"), 2));
}

TEST(EmulationOrders, NamesAreRead) {
  for (const auto& order : eight_orders()) {
    EXPECT_EQ(Order::parse(order.name()), order);
  }
  EXPECT_EQ(Order::parse("random").seed, 0);
  for (const auto* wrong : {"", "Forward", "forward:1", "random:", "random:x", "pct:1x", "pct 1"}) {
    EXPECT_THROW(Order::parse(wrong), std::invalid_argument) << wrong;
  }
}

}  // namespace
}  // namespace moesaic::tests
