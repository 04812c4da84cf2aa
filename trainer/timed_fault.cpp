#include "trainer/timed_fault.h"

#include <signal.h>

#include <chrono>
#include <thread>

namespace moesaic::trainer {

using Process = FaultOption::Process;

TimedFault::TimedFault(const FaultOption& option,
                       std::shared_ptr<parallel::FaultInjection> injection)
    : option_(option), injection_(std::move(injection)) {
  if (option_.process == Process::kNoSpace) {
    operations_ = std::make_unique<FaultyFileOperations>(FileFault::kNoSpace);
  } else if (option_.process == Process::kShortWrite) {
    operations_ = std::make_unique<FaultyFileOperations>(FileFault::kLostWrite);
  }
}

void TimedFault::reach(std::string_view phase, int64_t step) {
  const bool is_here = injection_->active && phase == option_.phase && step == option_.step;
  if (option_.process == Process::kNan) {
    injection_->kind =
        is_here ? parallel::FaultInjection::Kind::nan_loss : parallel::FaultInjection::Kind::none;
    return;
  }
  if (!is_here) {
    return;
  }
  ++injection_->hits;
  if (option_.process == Process::kKill) {
    raise(SIGKILL);
  } else if (option_.process == Process::kStop) {
    raise(SIGSTOP);
  } else if (option_.process == Process::kSlow) {
    std::this_thread::sleep_for(std::chrono::seconds(2));
  } else {
    operations_->arm();
  }
}

}  // namespace moesaic::trainer
