#include "trainer/data/prefetcher.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <random>
#include <string>

namespace moesaic::trainer {
namespace {

class PrefetcherTest : public testing::TestWithParam<int64_t> {};

TEST_P(PrefetcherTest, GivesTheItemOfTheStepInAnyOrder) {
  Prefetcher<int64_t> prefetcher([](int64_t step) { return 10 * step; }, GetParam());
  std::mt19937 random(1);
  for (int64_t round = 0; round < 50; ++round) {
    const int64_t begin = static_cast<int64_t>(random() % 1000);
    for (int64_t step = begin; step < begin + static_cast<int64_t>(random() % 6); ++step) {
      ASSERT_EQ(prefetcher.next(step), 10 * step);
    }
  }
}

// Waits until the prefetcher loads no more, then the loads ahead are exactly the depth.
TEST_P(PrefetcherTest, LoadsDepthItemsAheadAndNoMore) {
  std::atomic<int64_t> loaded = 0;
  Prefetcher<int64_t> prefetcher([&](int64_t step) { return ++loaded, step; }, GetParam());
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_EQ(loaded, 0) << "nothing is known to be wanted before the first step";
  for (int64_t consumed = 1; consumed <= 3; ++consumed) {
    prefetcher.next(100 + consumed);
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (loaded < consumed + GetParam() && std::chrono::steady_clock::now() < limit) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    EXPECT_EQ(loaded, consumed + GetParam());
  }
}

INSTANTIATE_TEST_SUITE_P(Depths, PrefetcherTest, testing::Values(1, 2, 4, 64));

TEST(PrefetcherErrorTest, AnErrorSurfacesInItsOwnStepAndTheStepCanBeTriedAgain) {
  std::atomic<bool> broken = true;
  Prefetcher<int64_t> prefetcher(
      [&](int64_t step) {
        if (step == 3 && broken) {
          throw std::runtime_error("step 3 is broken");
        }
        return step;
      },
      8);
  for (int64_t step = 0; step < 3; ++step) {
    EXPECT_EQ(prefetcher.next(step), step);
  }
  EXPECT_THROW(prefetcher.next(3), std::runtime_error);
  EXPECT_THROW(prefetcher.next(3), std::runtime_error);
  broken = false;
  EXPECT_EQ(prefetcher.next(3), 3);
  EXPECT_EQ(prefetcher.next(4), 4);
}

TEST(PrefetcherErrorTest, EndsWhileLoadingAndUnused) {
  {
    Prefetcher<int64_t> unused([](int64_t step) { return step; }, 2);
  }
  std::atomic<bool> loading = false;
  {
    Prefetcher<std::string> prefetcher(
        [&](int64_t step) {
          loading = step == 1;
          std::this_thread::sleep_for(std::chrono::milliseconds(step == 1 ? 50 : 0));
          return std::string(1000, 'x');
        },
        2);
    prefetcher.next(0);
    while (!loading) {
      std::this_thread::yield();
    }
  }
  EXPECT_THROW(Prefetcher<int64_t>([](int64_t step) { return step; }, 0), std::invalid_argument);
}

TEST(PrefetcherErrorTest, TheThreadTakesNoSignals) {
  Prefetcher<bool> prefetcher(
      [](int64_t) {
        sigset_t blocked;
        pthread_sigmask(SIG_SETMASK, nullptr, &blocked);
        return sigismember(&blocked, SIGTERM) == 1 && sigismember(&blocked, SIGUSR1) == 1;
      },
      1);
  EXPECT_TRUE(prefetcher.next(0));
  sigset_t blocked;
  pthread_sigmask(SIG_SETMASK, nullptr, &blocked);
  EXPECT_EQ(sigismember(&blocked, SIGTERM), 0);
}

}  // namespace
}  // namespace moesaic::trainer
