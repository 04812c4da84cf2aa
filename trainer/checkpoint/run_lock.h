// run.lock: one job at a time in a run folder.
//
// The lock is flock(2) on the open file, so the kernel releases it when the process ends, however
// it ends; the text inside (pid, host, start) is for people. Hazard: on NFS flock reaches other
// hosts only with a lock server (not with `nolock` or `local_lock=flock`), and on Lustre only with
// `-o flock`; where the file system refuses to lock at all, warning() says so and the run goes on.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "parallel/communicator.h"

namespace moesaic::trainer {

/// Holds <run_dir>/run.lock until it is destroyed.
class RunLock {
 public:
  /// Makes the folder if it is missing. Throws ExitError(kStorage): naming the job that holds the
  /// lock, or when the file cannot be written.
  explicit RunLock(const std::filesystem::path& run_dir);
  ~RunLock();
  RunLock(const RunLock&) = delete;
  RunLock& operator=(const RunLock&) = delete;

  /// Not empty where the file system has no locks.
  const std::string& warning() const { return warning_; }

 private:
  int file_;
  std::string warning_;
};

/// Collective. Rank 0 takes the lock; every rank throws when it could not. The other ranks get
/// nullptr.
std::unique_ptr<RunLock> acquire_run_lock(parallel::Communicator& communicator,
                                          const std::filesystem::path& run_dir);

}  // namespace moesaic::trainer
