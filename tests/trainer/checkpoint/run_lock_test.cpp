#include "trainer/checkpoint/run_lock.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/spawn_ranks.h"
#include "tests/trainer/checkpoint/checkpoint_fixture.h"
#include "trainer/exit_code.h"

namespace moesaic::tests {
namespace {

using testing::HasSubstr;
using trainer::ExitCode;
using trainer::ExitError;
using trainer::RunLock;

class RunLockTest : public CheckpointFixture {
 protected:
  std::filesystem::path run_dir() const { return root() / "runs" / "one"; }

  // A job that holds the lock until it is killed; returns when it has it.
  pid_t start_holder() {
    int ready[2];
    EXPECT_EQ(::pipe(ready), 0);
    const pid_t child = ::fork();
    if (child == 0) {
      RunLock lock(run_dir());
      const char byte = 'x';
      if (::write(ready[1], &byte, 1) != 1)
        ::_exit(1);
      ::pause();
      ::_exit(0);
    }
    char byte = 0;
    EXPECT_EQ(::read(ready[0], &byte, 1), 1);
    ::close(ready[0]);
    ::close(ready[1]);
    return child;
  }
};

TEST_F(RunLockTest, TheSecondJobIsToldWhoTheFirstIs) {
  const pid_t holder = start_holder();
  char host[256] = {};
  ASSERT_EQ(::gethostname(host, sizeof host - 1), 0);
  spawn_ranks(3, [&](parallel::Communicator& communicator) {
    try {
      trainer::acquire_run_lock(communicator, run_dir());
      ADD_FAILURE() << "rank " << communicator.rank() << " has the lock too";
    } catch (const ExitError& error) {
      EXPECT_EQ(error.code(), ExitCode::kStorage);
      EXPECT_THAT(error.what(), HasSubstr("pid " + std::to_string(holder) + " on " + host));
      EXPECT_THAT(error.what(), HasSubstr("run.lock"));
    }
  });
  // However the first one ends, the lock is free, and names its new holder.
  ::kill(holder, SIGKILL);
  ::waitpid(holder, nullptr, 0);
  spawn_ranks(3, [&](parallel::Communicator& communicator) {
    const auto lock = trainer::acquire_run_lock(communicator, run_dir());
    EXPECT_EQ(lock != nullptr, communicator.rank() == 0);
    if (lock) {
      EXPECT_EQ(lock->warning(), "");
    }
    communicator.barrier()->wait();
  });
  EXPECT_THAT(read_bytes(run_dir() / "run.lock"), HasSubstr("pid " + std::to_string(::getpid())));
}

TEST_F(RunLockTest, IsFreeAgainAfterwards) {
  { RunLock lock(run_dir()); }
  RunLock again(run_dir());
  EXPECT_THROW(RunLock second(run_dir()), ExitError);
}

TEST_F(RunLockTest, AFolderThatCannotBeMade) {
  write_bytes(root() / "file", "");
  try {
    RunLock lock(root() / "file" / "run");
    ADD_FAILURE();
  } catch (const ExitError& error) {
    EXPECT_EQ(error.code(), ExitCode::kStorage);
  }
}

}  // namespace
}  // namespace moesaic::tests
