// Warp operations against their definitions in the CUDA C++ programming guide.
#include "tests/kernels/cuda/emulation/warp_kernels.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <numeric>
#include <vector>

#include "tests/kernels/cuda/for_each_order.h"

MOESAIC_KERNEL_TEST(shuffle)
MOESAIC_KERNEL_TEST(shuffle_bfloat16)
MOESAIC_KERNEL_TEST(vote)
MOESAIC_KERNEL_TEST(match)
MOESAIC_KERNEL_TEST(reduce)
MOESAIC_KERNEL_TEST(half_sums)
MOESAIC_KERNEL_TEST(block_sum)

namespace moesaic::tests {
namespace {

// The lane that `lane` reads, written per segment of `width` lanes.
int source_of(Shuffle kind, int lane, int argument, int width) {
  const int first = lane / width * width;
  const int place = lane - first;
  switch (kind) {
    case Shuffle::kIndex:
      return first + (argument % width + width) % width;
    case Shuffle::kUp:
      return place - argument >= 0 ? lane - argument : lane;
    case Shuffle::kDown:
      return place + argument < width ? lane + argument : lane;
    case Shuffle::kXor:
      return (lane ^ argument) < first + width ? lane ^ argument : lane;
  }
  return -1;
}

template <class T>
void check_shuffles() {
  std::array<T, 32> values{};
  for (size_t lane = 0; lane < 32; ++lane) {
    values[lane] = static_cast<T>(1000000007ll * static_cast<long long>(lane + 1) % 123456789);
  }
  for (const auto kind : {Shuffle::kIndex, Shuffle::kUp, Shuffle::kDown, Shuffle::kXor}) {
    for (const int width : {1, 2, 8, 16, 32}) {
      for (const int argument : {0, 1, 3, 8, 16, 31}) {
        std::array<T, 32> results{};
        run_shuffle(kind, values.data(), argument, width, results.data());
        for (int lane = 0; lane < 32; ++lane) {
          const int source = source_of(kind, lane, argument, width);
          EXPECT_EQ(results[static_cast<size_t>(lane)], values[static_cast<size_t>(source)])
              << "kind " << static_cast<int>(kind) << " width " << width << " argument " << argument
              << " lane " << lane;
        }
      }
    }
  }
}

TEST(EmulationWarp, Shuffles) {
  for_each_order([] {
    check_shuffles<int>();
    check_shuffles<double>();
    check_shuffles<unsigned long long>();
  });
}

TEST(EmulationWarp, ShufflesCarryTwoBytes) {
  for_each_order([] {
    std::array<float, 32> results{};
    run_shuffle_bfloat16(results.data());
    for (size_t lane = 0; lane < 32; ++lane) {
      EXPECT_EQ(results[lane], static_cast<float>(31 - lane));
    }
  });
}

TEST(EmulationWarp, Votes) {
  for_each_order([] {
    for (const unsigned mask : {0xFFFFFFFFu, 0x0000FFFFu, 0x80000001u, 0x00000400u}) {
      for (const unsigned predicates : {0u, 0xFFFFFFFFu, 0x00000001u, 0xF0F0F0F0u}) {
        std::array<Votes, 32> votes{};
        run_votes(mask, predicates, votes.data());
        for (size_t lane = 0; lane < 32; ++lane) {
          const bool takes_part = mask >> lane & 1;
          EXPECT_EQ(votes[lane].ballot, takes_part ? predicates & mask : 0u);
          EXPECT_EQ(votes[lane].any != 0, takes_part && (predicates & mask) != 0);
          EXPECT_EQ(votes[lane].all != 0, takes_part && (predicates & mask) == mask);
        }
      }
    }
  });
}

TEST(EmulationWarp, Matches) {
  for_each_order([] {
    for (const int num_values : {1, 3, 32}) {
      for (const unsigned mask : {0xFFFFFFFFu, 0x00FF00F0u}) {
        std::array<int, 32> values{};
        for (size_t lane = 0; lane < 32; ++lane) {
          values[lane] = static_cast<int>(lane) % num_values - 1;
        }
        std::array<Matches, 32> matches{};
        run_matches(mask, values.data(), matches.data());
        for (size_t lane = 0; lane < 32; ++lane) {
          if (!(mask >> lane & 1)) {
            continue;
          }
          unsigned equal = 0;
          for (size_t other = 0; other < 32; ++other) {
            equal |= static_cast<unsigned>(values[other] == values[lane]) << other;
          }
          EXPECT_EQ(matches[lane].any, equal & mask);
          EXPECT_EQ(matches[lane].any_float, equal & mask);
          EXPECT_EQ(matches[lane].any_long, equal & mask);
          EXPECT_EQ(matches[lane].is_all != 0, num_values == 1);
          EXPECT_EQ(matches[lane].all, num_values == 1 ? mask : 0u);
        }
      }
    }
  });
}

TEST(EmulationWarp, Reductions) {
  for_each_order([] {
    std::array<int, 32> values{};
    for (size_t lane = 0; lane < 32; ++lane) {
      values[lane] = static_cast<int>(lane * lane) - 300;
    }
    for (const unsigned mask : {0xFFFFFFFFu, 0x0F0F0000u, 0x00020000u}) {
      Reductions expected{};
      expected.min = INT32_MAX;
      expected.max = INT32_MIN;
      expected.unsigned_min = expected.bit_and = 0xFFFFFFFF;
      for (size_t lane = 0; lane < 32; ++lane) {
        if (mask >> lane & 1) {
          const auto positive = static_cast<unsigned>(values[lane]);
          expected.add += values[lane];
          expected.min = std::min(expected.min, values[lane]);
          expected.max = std::max(expected.max, values[lane]);
          expected.unsigned_add += positive;
          expected.unsigned_min = std::min(expected.unsigned_min, positive);
          expected.unsigned_max = std::max(expected.unsigned_max, positive);
          expected.bit_and &= positive;
          expected.bit_or |= positive;
          expected.bit_xor ^= positive;
        }
      }
      std::array<Reductions, 32> reductions{};
      run_reductions(mask, values.data(), reductions.data());
      const auto& got = reductions[static_cast<size_t>(std::countr_zero(mask))];
      EXPECT_EQ(got.add, expected.add);
      EXPECT_EQ(got.min, expected.min);
      EXPECT_EQ(got.max, expected.max);
      EXPECT_EQ(got.unsigned_add, expected.unsigned_add);
      EXPECT_EQ(got.unsigned_min, expected.unsigned_min);
      EXPECT_EQ(got.unsigned_max, expected.unsigned_max);
      EXPECT_EQ(got.bit_and, expected.bit_and);
      EXPECT_EQ(got.bit_or, expected.bit_or);
      EXPECT_EQ(got.bit_xor, expected.bit_xor);
    }
  });
}

TEST(EmulationWarp, MasksOfOneWarpWorkApart) {
  for_each_order([] {
    std::vector<int> sums(96, -1);
    run_half_sums(96, sums.data());
    for (int t = 0; t < 96; ++t) {
      const int first = t / 32 * 32;
      const int expected = 16 * first + (t % 2 == 0 ? 240 : 256);
      EXPECT_EQ(sums[static_cast<size_t>(t)], expected) << t;
    }
  });
}

TEST(EmulationWarp, BlockSumHasOneOrder) {
  std::vector<float> values(1024);
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = 1.0f / static_cast<float>(i + 1);
  }
  float first = 0;
  run_block_sum(1024, values.data(), &first);
  EXPECT_NEAR(first, 7.509f, 1e-3f) << "the harmonic number of 1024";
  for_each_order([&] {
    float sum = 0;
    run_block_sum(1024, values.data(), &sum);
    EXPECT_EQ(sum, first) << "the same bits";
  });
}

}  // namespace
}  // namespace moesaic::tests
