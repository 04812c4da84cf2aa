#include "trainer/timed_fault.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>

namespace moesaic::trainer {
namespace {

using parallel::FaultInjection;

std::shared_ptr<FaultInjection> injection(bool active) {
  auto result = std::make_shared<FaultInjection>();
  result->active = active;
  return result;
}

TEST(TimedFault, ANaNLastsOneStep) {
  const auto injected = injection(true);
  TimedFault fault(*parse_fault("nan@step,step=2"), injected);
  std::vector<bool> strikes;
  for (int64_t step = 1; step <= 3; ++step) {
    fault.reach("step", step);
    strikes.push_back(injected->fire(FaultInjection::Kind::nan_loss));
  }
  EXPECT_EQ(strikes, (std::vector<bool>{false, true, false}));
  EXPECT_EQ(injected->hits, 1);
}

TEST(TimedFault, StrikesAtItsPhaseAndStepOnly) {
  const auto injected = injection(true);
  TimedFault fault(*parse_fault("enospc@save.after_write,step=2"), injected);
  for (const auto& [phase, step] :
       {std::pair{"save.after_write", 1}, {"save.begin", 2}, {"step", 2}}) {
    fault.reach(phase, step);
  }
  ASSERT_NE(fault.file_operations(), nullptr);
  const int file = ::open("/dev/null", O_WRONLY);
  EXPECT_EQ(fault.file_operations()->pwrite(file, "x", 1, 0), 1);
  EXPECT_EQ(injected->hits, 0);
  fault.reach("save.after_write", 2);
  EXPECT_EQ(fault.file_operations()->pwrite(file, "x", 1, 0), -1);
  EXPECT_EQ(injected->hits, 1);
  ::close(file);
}

TEST(TimedFaultDeathTest, KillsTheRankThatIsHitAndNoOther) {
  TimedFault elsewhere(*parse_fault("kill@step,step=1"), injection(false));
  elsewhere.reach("step", 1);
  EXPECT_EXIT(TimedFault(*parse_fault("kill@step,step=1"), injection(true)).reach("step", 1),
              testing::KilledBySignal(SIGKILL), "");
}

}  // namespace
}  // namespace moesaic::trainer
