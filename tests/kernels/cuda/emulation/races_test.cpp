// Missing barriers: some change the result in some order, all are reported by ThreadSanitizer.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "kernels/cuda/emulation/order.h"
#include "tests/kernels/cuda/emulation/racy_kernels.h"
#include "tests/kernels/cuda/for_each_order.h"

MOESAIC_KERNEL_TEST(share_value)
MOESAIC_KERNEL_TEST(read_neighbour)
MOESAIC_KERNEL_TEST(set_flag)
MOESAIC_KERNEL_TEST(rounds)
MOESAIC_KERNEL_TEST(blocks_write)
MOESAIC_KERNEL_TEST(last_block)

namespace moesaic::tests {
namespace {

namespace emulation = kernels::cuda::emulation;

bool has_thread_sanitizer() {
  return emulation::sanitizer() == emulation::Sanitizer::kThread;
}

// The orders in which the kernel's result is wrong.
std::set<std::string> wrong_orders(const std::function<bool()>& is_right) {
  std::set<std::string> wrong;
  for (const auto& order : emulation::eight_orders()) {
    emulation::set_order(order);
    if (!is_right()) {
      wrong.insert(order.name());
    }
  }
  emulation::set_order({});
  return wrong;
}

bool values_are_shared(bool with_barrier) {
  std::vector<int> out(96, 0);
  run_share_value(with_barrier, 96, out.data());
  return std::all_of(out.begin(), out.end(), [](int value) { return value == 42; });
}

bool rounds_are_right(bool with_second_barrier) {
  std::vector<int> out(64, 0);
  run_rounds(with_second_barrier, 5, out.data());
  return std::all_of(out.begin(), out.end(), [](int sum) { return sum == 0 + 1 + 2 + 3 + 4; });
}

// Without ThreadSanitizer, which ends the process at the first race.
class MissingBarrier : public testing::Test {
 protected:
  void SetUp() override {
    if (has_thread_sanitizer()) {
      GTEST_SKIP() << "ThreadSanitizer reports these races: DataRace";
    }
  }
};

TEST_F(MissingBarrier, ShowsInOtherOrdersThanForward) {
  const auto wrong = wrong_orders([] { return values_are_shared(false); });
  EXPECT_FALSE(wrong.contains("forward")) << "a race that is right by luck";
  EXPECT_TRUE(wrong.contains("reverse"));
  EXPECT_TRUE(wrong.contains("random:1"));
  EXPECT_GE(wrong.size(), 5);
}

TEST_F(MissingBarrier, ShowsBetweenRounds) {
  const auto wrong = wrong_orders([] { return rounds_are_right(false); });
  EXPECT_GE(wrong.size(), 1);
}

TEST(MissingBarrierControl, WithItEveryOrderIsRight) {
  for_each_order([] {
    EXPECT_TRUE(values_are_shared(true));
    EXPECT_TRUE(rounds_are_right(true));
  });
}

class DataRace : public testing::Test {
 protected:
  void SetUp() override {
    if (!has_thread_sanitizer()) {
      GTEST_SKIP() << "this program is built without ThreadSanitizer";
    }
  }
};

constexpr const char* kReport = "ThreadSanitizer: data race";

TEST_F(DataRace, MissingBarrier) {
  EXPECT_DEATH(values_are_shared(false), kReport);
  EXPECT_TRUE(values_are_shared(true));
  EXPECT_DEATH(rounds_are_right(false), kReport);
  EXPECT_TRUE(rounds_are_right(true));
}

TEST_F(DataRace, ReportNamesKernelAndLine) {
  EXPECT_DEATH(values_are_shared(false), "share_value.*racy_kernels.cu:");
}

// Right in all eight orders: nothing but ThreadSanitizer can find it.
TEST_F(DataRace, ShuffleInPlaceOfSyncwarp) {
  std::array<int, 32> out{};
  EXPECT_DEATH(run_read_neighbour(false, out.data()), kReport);
  run_read_neighbour(true, out.data());
  EXPECT_EQ(out[30], 93);
}

TEST_F(DataRace, EqualWritesOfManyThreads) {
  int out = 0;
  EXPECT_DEATH(run_set_flag(false, &out), kReport);
  run_set_flag(true, &out);
  EXPECT_EQ(out, 1);
}

TEST_F(DataRace, BetweenBlocks) {
  std::vector<int> out(32 * 5, 0);
  EXPECT_DEATH(run_blocks_write(false, 5, out.data()), kReport);
  run_blocks_write(true, 5, out.data());
  EXPECT_EQ(out, std::vector<int>(32 * 5, 7));
}

int sum_of_last_block(bool with_fence) {
  std::vector<int> partial(6, 0);
  unsigned num_done = 0;
  int sum = 0;
  run_last_block(with_fence, 6, partial.data(), &num_done, &sum);
  return sum;
}

TEST_F(DataRace, MissingFenceBetweenBlocks) {
  EXPECT_DEATH(sum_of_last_block(false), kReport);
  EXPECT_EQ(sum_of_last_block(true), 21);
}

TEST(DataRaceControl, CorrectKernelsAreRightInEveryOrder) {
  for_each_order([] {
    std::array<int, 32> neighbours{};
    run_read_neighbour(true, neighbours.data());
    for (size_t lane = 0; lane < 32; ++lane) {
      EXPECT_EQ(neighbours[lane], static_cast<int>((lane + 1) % 32) * 3);
    }
    int flag = 0;
    run_set_flag(true, &flag);
    EXPECT_EQ(flag, 1);
    EXPECT_EQ(sum_of_last_block(true), 21);
    std::vector<int> out(32 * 5, 0);
    run_blocks_write(true, 5, out.data());
    EXPECT_EQ(out, std::vector<int>(32 * 5, 7));
  });
}

// Uses shared memory in many blocks and launches: the next block's is not the last one's.
TEST(DataRaceControl, ReusedSharedMemoryIsNoRace) {
  for (int repeat = 0; repeat < 20; ++repeat) {
    EXPECT_TRUE(values_are_shared(true));
  }
}

}  // namespace
}  // namespace moesaic::tests
