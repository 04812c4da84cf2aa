// Launches: geometry, limits, counts, threads of the host; and barriers with a result.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>
#include <thread>
#include <vector>

#include "kernels/cuda/kernel_registry.h"
#include "kernels/cuda/launch_limits.h"
#include "tests/kernels/cuda/emulation/atomic_kernels.h"
#include "tests/kernels/cuda/emulation/faulty_kernels.h"
#include "tests/kernels/cuda/for_each_order.h"

MOESAIC_KERNEL_TEST(geometry)
MOESAIC_KERNEL_TEST(barrier_results)
MOESAIC_KERNEL_TEST(nothing)
MOESAIC_KERNEL_TEST(count_threads)

namespace moesaic::tests {
namespace {

using testing::AllOf;
using testing::HasSubstr;

TEST(EmulationLaunch, EveryThreadRunsOnceAndKeepsItsIndex) {
  for_each_order([] {
    const Extent grid{3, 2, 2}, block{5, 3, 2};
    constexpr size_t kThreads = 12 * 30;
    std::vector<int> num_visits(kThreads, 0);
    std::vector<Extent> index(kThreads);
    run_geometry(grid, block, num_visits.data(), index.data());
    EXPECT_EQ(num_visits, std::vector<int>(kThreads, 1));
    for (size_t i = 0; i < kThreads; ++i) {
      const unsigned t = i % 30;
      EXPECT_EQ(index[i].x, t % 5);
      EXPECT_EQ(index[i].y, t / 5 % 3);
      EXPECT_EQ(index[i].z, t / 15);
    }
  });
}

TEST(EmulationLaunch, BarriersCountAndCombine) {
  for_each_order([] {
    for (const int num_true : {0, 1, 69, 70}) {
      std::vector<BarrierResults> results(70);
      run_barrier_results(70, num_true, results.data());
      for (const auto& seen : results) {
        EXPECT_EQ(seen.count, num_true);
        EXPECT_EQ(seen.all != 0, num_true == 70);
        EXPECT_EQ(seen.any != 0, num_true > 0);
      }
    }
  });
}

std::string refusal(Extent grid, Extent block, unsigned long shared_bytes = 0) {
  try {
    run_nothing(grid, block, shared_bytes);
  } catch (const std::runtime_error& refused) {
    return refused.what();
  }
  return "";
}

TEST(EmulationLaunch, RefusesWhatCudaRefuses) {
  const Extent one{1, 1, 1};
  EXPECT_EQ(refusal(one, {1024, 1, 1}, kernels::cuda::kMaxSharedBytes), "");
  EXPECT_EQ(refusal(one, {16, 1, 64}), "");
  EXPECT_THAT(refusal(one, {0, 1, 1}), HasSubstr("launch of nothing: invalid block (0, 1, 1)"));
  EXPECT_THAT(refusal(one, {1025, 1, 1}), HasSubstr("invalid block (1025, 1, 1)"));
  EXPECT_THAT(refusal(one, {32, 33, 1}), HasSubstr("invalid block (32, 33, 1)"));
  EXPECT_THAT(refusal(one, {8, 1, 65}), HasSubstr("invalid block (8, 1, 65)"));
  EXPECT_THAT(refusal({0, 1, 1}, one), HasSubstr("invalid grid (0, 1, 1)"));
  EXPECT_THAT(refusal({1, 65536, 1}, one), HasSubstr("invalid grid (1, 65536, 1)"));
  EXPECT_THAT(refusal({0x80000000, 1, 1}, one), HasSubstr("invalid grid"));
  EXPECT_THAT(refusal(one, one, kernels::cuda::kMaxSharedBytes + 1),
              AllOf(HasSubstr("launch of nothing: 101377 bytes"), HasSubstr("at most 101376")));
}

TEST(EmulationLaunch, CountsLaunchesByName) {
  const auto before = kernels::cuda::kernel_launches();
  ASSERT_TRUE(before.contains("nothing")) << "registered, launched or not";
  run_nothing({2, 1, 1}, {32, 1, 1}, 0);
  run_nothing({1, 1, 1}, {1, 1, 1}, 0);
  run_static_shared_write(0);  // a template
  const auto launches = kernels::cuda::kernel_launches();
  EXPECT_EQ(launches.at("nothing") - before.at("nothing"), 2) << "of launches, not of blocks";
  EXPECT_EQ(launches.at("write_static_shared") - before.at("write_static_shared"), 1);
  EXPECT_EQ(launches.at("count_threads"), before.at("count_threads"));
  EXPECT_FALSE(launches.contains("unregistered"));
}

TEST(EmulationLaunch, RefusesAKernelThatNobodyRegistered) {
  int out = 0;
  try {
    run_unregistered(&out);
    FAIL() << "was launched";
  } catch (const std::logic_error& refused) {
    EXPECT_THAT(refused.what(), HasSubstr("kernel unregistered"));
  }
  EXPECT_EQ(out, 0);
}

// Autograd launches from its own threads, ranks of a test from theirs.
TEST(EmulationLaunch, ThreadsOfTheHostTakeTurns) {
  std::vector<int> counts(4 * 25, 0);
  std::vector<std::thread> threads;
  for (size_t i = 0; i < 4; ++i) {
    threads.emplace_back([&counts, i] {
      for (size_t repeat = 0; repeat < 25; ++repeat) {
        run_count_threads(static_cast<int>(33 + i), &counts[i * 25 + repeat]);
      }
    });
  }
  for (auto& thread : threads) {
    thread.join();
  }
  for (size_t i = 0; i < counts.size(); ++i) {
    EXPECT_EQ(counts[i], static_cast<int>(33 + i / 25));
  }
}

}  // namespace
}  // namespace moesaic::tests
