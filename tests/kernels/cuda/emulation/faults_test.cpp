// The faults that the emulation itself reports: each is committed, and must be named with its
// place.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <stdexcept>
#include <vector>

#include "kernels/cuda/emulation/kernel_fault.h"
#include "kernels/cuda/emulation/order.h"
#include "tests/kernels/cuda/emulation/faulty_kernels.h"
#include "tests/kernels/cuda/for_each_order.h"

MOESAIC_KERNEL_TEST(commit_barrier_fault)
MOESAIC_KERNEL_TEST(commit_warp_fault)
MOESAIC_KERNEL_TEST(use_uninitialised_shared)
MOESAIC_KERNEL_TEST(wait_for_later_block)

namespace moesaic::tests {
namespace {

using kernels::cuda::emulation::KernelFault;
using testing::AllOf;
using testing::AnyOf;
using testing::HasSubstr;

// What the launch says, or "" if it finds nothing.
std::string found(Fault fault, int num_threads = 64) {
  std::vector<int> out(static_cast<size_t>(num_threads), -1);
  try {
    run_fault(fault, num_threads, out.data());
  } catch (const KernelFault& caught) {
    EXPECT_THAT(caught.site().file, HasSubstr("faulty_kernels.cu"));
    EXPECT_GT(caught.site().line, 0);
    EXPECT_THAT(caught.what(), HasSubstr("kernel " + caught.kernel()));
    EXPECT_THAT(caught.what(), HasSubstr(caught.thread()));
    return caught.what();
  }
  return "";
}

// In every order, since what is found must not depend on luck; `said` matches each message.
template <class Matcher>
void expect_found(Fault fault, Matcher said, int num_threads = 64) {
  for_each_order([&] { EXPECT_THAT(found(fault, num_threads), said); });
}

TEST(EmulationFaults, CorrectKernelHasNone) {
  for_each_order([] {
    std::vector<int> out(64, -1);
    run_fault(Fault::kNone, 64, out.data());
    for (int t = 0; t < 64; ++t) {
      EXPECT_EQ(out[static_cast<size_t>(t)], t);
    }
  });
}

TEST(EmulationFaults, MessageNamesKernelThreadAndPlace) {
  EXPECT_THAT(found(Fault::kTrap),
              testing::MatchesRegex("kernel commit_barrier_fault, block \\(0, 0, 0\\), thread "
                                    "\\(2, 0, 0\\): .*faulty_kernels.cu:[0-9]+: __trap\\(\\)"));
}

TEST(EmulationFaults, DivergentBarrier) {
  expect_found(Fault::kDivergentBarrier,
               AllOf(HasSubstr("divergent barrier: __syncthreads here, but thread ("),
                     HasSubstr("waits in __syncthreads at ")));
}

TEST(EmulationFaults, DivergentKindOfBarrier) {
  expect_found(Fault::kDivergentBarrierKind,
               AllOf(HasSubstr("divergent barrier"), HasSubstr("__syncthreads_or")));
}

TEST(EmulationFaults, BarrierAfterExit) {
  expect_found(Fault::kBarrierAfterExit,
               AnyOf(HasSubstr("__syncthreads after thread (0, 0, 0) has ended"),
                     HasSubstr("the thread ends, but thread (")));
}

TEST(EmulationFaults, ExitWhileOthersWait) {
  expect_found(Fault::kExitBeforeBarrier,
               AnyOf(HasSubstr("waits for it in __syncthreads at "),
                     HasSubstr("__syncthreads after thread (63, 0, 0) has ended")));
}

TEST(EmulationFaults, MissingLane) {
  expect_found(Fault::kMissingLane,
               AnyOf(HasSubstr("waits for it in __syncwarp at "),
                     HasSubstr("__syncwarp with mask 0xffffffff names lane 7, which has ended")));
}

TEST(EmulationFaults, LaneOutsideTheMask) {
  expect_found(Fault::kLaneOutsideMask,
               AllOf(HasSubstr("__shfl_sync with mask 0xffff is called by lane "),
                     HasSubstr("which the mask leaves out")));
}

TEST(EmulationFaults, ExitedLaneInTheMask) {
  expect_found(Fault::kExitedLaneInMask, AnyOf(HasSubstr("names lane 0, which has ended"),
                                               HasSubstr("the lane ends, but thread (")));
}

TEST(EmulationFaults, AbsentLaneInTheMask) {
  expect_found(Fault::kAbsentLaneInMask, HasSubstr("names lane 16, which this warp does not have"),
               16);
}

TEST(EmulationFaults, MasksThatDiffer) {
  expect_found(Fault::kDifferentMasks,
               AllOf(HasSubstr("__any_sync with mask 0xf"), HasSubstr(" waits with mask 0xf")), 32);
}

TEST(EmulationFaults, OperationsThatDiffer) {
  expect_found(Fault::kDifferentOperations,
               AllOf(HasSubstr("lanes of mask 0xffffffff diverge"), HasSubstr("__ballot_sync"),
                     HasSubstr("__shfl_sync")));
}

TEST(EmulationFaults, PlacesThatDiffer) {
  expect_found(Fault::kDifferentPlaces,
               AllOf(HasSubstr("lanes of mask 0xffffffff diverge: __shfl_sync here, but lane "),
                     HasSubstr(" waits in __shfl_sync at ")));
}

TEST(EmulationFaults, ShuffleFromAnInactiveLane) {
  expect_found(Fault::kShuffleFromInactive, HasSubstr("reads lane 20, which the mask leaves out"));
}

TEST(EmulationFaults, WidthThatIsNoPowerOfTwo) {
  expect_found(Fault::kWidthOfThree, HasSubstr("__shfl_down_sync with width 3"));
}

TEST(EmulationFaults, DeadlockSaysWhoWaitsWhere) {
  expect_found(Fault::kBarrierAgainstWarp,
               AllOf(HasSubstr("deadlock: no thread can run"),
                     HasSubstr("31 in __syncwarp with mask 0xffffffff at "),
                     HasSubstr("1 in __syncthreads at "), HasSubstr("(thread (7, 0, 0))")),
               32);
}

TEST(EmulationFaults, ExceptionOfAKernelIsPassedOn) {
  std::vector<int> out(64, -1);
  EXPECT_THROW(run_fault(Fault::kException, 64, out.data()), std::out_of_range);
}

// A fault leaves fibers in the middle of a kernel; the next launch must not notice.
TEST(EmulationFaults, NextLaunchRunsAsIfNothingHadBeen) {
  for (int repeat = 0; repeat < 3; ++repeat) {
    EXPECT_NE(found(Fault::kDivergentBarrier), "");
    EXPECT_NE(found(Fault::kDifferentOperations), "");
    EXPECT_EQ(found(Fault::kNone), "");
  }
}

// 0xFF is -1 as an int, NaN as a float; 0x5A, in every other block, is large in both.
TEST(EmulationFaults, UninitialisedSharedMemoryIsPoison) {
  for_each_order([] {
    std::array<int, 3> counts{};
    std::array<float, 3> values{};
    run_uninitialised_shared(3, counts.data(), values.data());
    for (const size_t b : {0, 2}) {
      EXPECT_EQ(counts[b], 3) << "4 additions to -1";
      EXPECT_TRUE(std::isnan(values[b])) << values[b];
    }
    EXPECT_EQ(counts[1], 0x5A5A5A5A + 4);
    EXPECT_GT(values[1], 1e16f);
  });
}

TEST(EmulationFaults, WaitingForALaterBlockIsALivelock) {
  unsigned flag = 0;
  try {
    run_wait_for_later_block(&flag);
    FAIL() << "came to an end";
  } catch (const KernelFault& caught) {
    EXPECT_THAT(caught.what(), HasSubstr("livelock"));
    EXPECT_THAT(caught.what(), HasSubstr("block (0, 0, 0)"));
  }
}

}  // namespace
}  // namespace moesaic::tests
