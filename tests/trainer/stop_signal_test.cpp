// Every case runs in a child process: handlers and the flag belong to the whole process.
#include "trainer/stop_signal.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

namespace moesaic::trainer {
namespace {

constexpr int kSeen = 17;

// Ends the child: kSeen when the flag went from false to true.
[[noreturn]] void raise_and_exit(int signal_number) {
  install_stop_signal_handlers();
  const bool before = stop_was_requested();
  raise(signal_number);
  _exit(!before && stop_was_requested() ? kSeen : 1);
}

TEST(StopSignalDeathTest, EachSignalSetsTheFlagAndNothingElse) {
  for (const int signal_number : {SIGUSR1, SIGTERM, SIGINT}) {
    EXPECT_EXIT(raise_and_exit(signal_number), testing::ExitedWithCode(kSeen), "")
        << "signal " << signal_number;
  }
}

[[noreturn]] void raise_twice_and_exit(int signal_number) {
  install_stop_signal_handlers();
  raise(signal_number);
  raise(signal_number);
  _exit(kSeen);
}

TEST(StopSignalDeathTest, ASecondInterruptEndsTheProcessAndASecondUsr1DoesNot) {
  EXPECT_EXIT(raise_twice_and_exit(SIGINT), testing::ExitedWithCode(128 + SIGINT), "");
  EXPECT_EXIT(raise_twice_and_exit(SIGUSR1), testing::ExitedWithCode(kSeen), "");
}

}  // namespace
}  // namespace moesaic::trainer
