// The layout does not change the maths: ranks that are processes against one rank, in float64, and
// against the same layout on threads, bitwise. Run under mpirun.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/mpi_main.h"
#include "tests/support/spawn_ranks.h"
#include "tests/trainer/layout_run.h"

namespace moesaic::tests {
namespace {

using parallel::CommunicatorPtr;

class MpiLayoutEquivalence : public ::testing::TestWithParam<LayoutCase> {};

TEST_P(MpiLayoutEquivalence, EqualsOneRank) {
  for (const auto& layout : layouts_of(GetParam(), mpi_world()->size())) {
    expect_equal_to_one_rank(GetParam(), layout, mpi_world());
  }
}

INSTANTIATE_TEST_SUITE_P(All, MpiLayoutEquivalence, ::testing::ValuesIn(layout_cases()),
                         [](const auto& info) { return info.param.name; });

TEST(MpiLayout, SameBitsAsThreads) {
  const auto& layout_case = tests::layout_case("CapacityByProbability");
  for (const auto& layout : layouts_of(layout_case, mpi_world()->size())) {
    const auto run = run_layout(layout_case, layout, mpi_world());
    std::vector<LayoutRun> runs(layout.world_size());
    spawn_ranks(layout.world_size(), [&](const CommunicatorPtr& world) {
      runs[world->rank()] = run_layout(layout_case, layout, world);
    });
    EXPECT_THAT(different_bits(run, runs[mpi_world()->rank()]), ::testing::IsEmpty())
        << layout.text();
  }
}

}  // namespace
}  // namespace moesaic::tests

int main(int argc, char** argv) {
  return moesaic::tests::run_mpi_tests(&argc, argv, {.timeout_s = 60});
}
