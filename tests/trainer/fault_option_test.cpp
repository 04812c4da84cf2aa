#include "trainer/fault_option.h"

#include <gtest/gtest.h>

#include "tests/support/spawn_ranks.h"
#include "tests/trainer/data/dataset_files.h"

namespace moesaic::trainer {
namespace {

using parallel::Communicator;
using parallel::FaultInjection;

TEST(FaultOption, WithoutAFaultThereIsNone) {
  EXPECT_EQ(make_fault_injection(std::nullopt, *parallel::make_single_communicator()), nullptr);
}

TEST(FaultOption, AnUnknownKindIsAnErrorThatNamesAllKinds) {
  tests::spawn_ranks(2, [](Communicator& world) {
    for (const char* wrong :
         {"drop_rows", "", "none", "corrupt", "Drop_Row", "kill", "kill@step", "kill@step,step=0",
          "kill@step,step=x", "kill@save.end,step=1", "nan@save.begin,step=1", "enospc@step,step=1",
          "kill@step,step=1,step=2"}) {
      expect_exit_error([&] { make_fault_injection(wrong, world); }, ExitCode::kConfiguration,
                        "is not one of scale_gradient, drop_row, skip_reduce, stale_count, "
                        "double_aux, corrupt@all_to_all");
    }
  });
}

TEST(FaultOption, OneRankAloneHasNothingToHit) {
  expect_exit_error([] { make_fault_injection("drop_row", *parallel::make_single_communicator()); },
                    ExitCode::kConfiguration, "one rank");
}

TEST(FaultOption, ActsOnTheLastRankOnly) {
  using Kind = FaultInjection::Kind;
  const std::vector<std::pair<std::string, Kind>> kKinds = {
      {"scale_gradient", Kind::scale_gradient}, {"drop_row", Kind::drop_row},
      {"skip_reduce", Kind::skip_reduce},       {"stale_count", Kind::stale_count},
      {"double_aux", Kind::double_aux},         {"corrupt@all_to_all", Kind::corrupt_all_to_all}};
  tests::spawn_ranks(3, [&](Communicator& world) {
    for (const auto& [name, kind] : kKinds) {
      const auto fault = make_fault_injection(name, world);
      ASSERT_NE(fault, nullptr);
      EXPECT_EQ(fault->kind, kind) << name;
      EXPECT_EQ(fault->active, world.rank() == 2);
      EXPECT_EQ(fault->fire(kind), world.rank() == 2);
    }
  });
}

TEST(FaultOption, AFaultOfTheProcessIsTakenApart) {
  using Process = FaultOption::Process;
  const auto kill = parse_fault("kill@save.before_rename,step=12");
  ASSERT_TRUE(kill);
  EXPECT_EQ(kill->process, Process::kKill);
  EXPECT_EQ(kill->phase, "save.before_rename");
  EXPECT_EQ(kill->step, 12);
  EXPECT_EQ(kill->numerical, FaultInjection::Kind::none);
  EXPECT_EQ(parse_fault("nan@step,step=3")->process, Process::kNan);
  EXPECT_EQ(parse_fault("enospc@save.begin,step=1")->process, Process::kNoSpace);
  EXPECT_EQ(parse_fault("short_write@save.begin,step=1")->process, Process::kShortWrite);
  EXPECT_EQ(parse_fault("drop_row")->process, Process::kNone);
}

TEST(FaultOption, AFaultThatHitNothingIsAnErrorOnEveryRank) {
  tests::spawn_ranks(3, [](Communicator& world) {
    const auto fault = make_fault_injection("drop_row", world);
    expect_exit_error([&] { check_fault_was_hit(fault.get(), world); }, ExitCode::kConfiguration,
                      "nothing that the fault could hit");
    fault->fire(FaultInjection::Kind::drop_row);  // takes effect on the last rank
    EXPECT_NO_THROW(check_fault_was_hit(fault.get(), world));
    EXPECT_NO_THROW(check_fault_was_hit(nullptr, world));
  });
}

}  // namespace
}  // namespace moesaic::trainer
