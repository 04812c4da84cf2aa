// Ends a rank that waits for too long, and says for whom.
//
// Neither MPI nor mpirun notices a rank that is stopped or lost in a loop. The watchdog's thread
// looks at the operations in flight; when one is overdue it prints who has not arrived, from the
// rings of all ranks of the node, and calls _exit(71): mpirun then takes the job down, stopped
// ranks included. Never MPI_Abort, which may itself hang.
#pragma once

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "parallel/communication_thread.h"
#include "parallel/operation_ring.h"

namespace moesaic::parallel {

class Watchdog : public OperationObserver {
 public:
  /// A caller in wait() gets its CommunicationError at the timeout; kGraceS later the process ends.
  static constexpr double kGraceS = 3;
  /// After a failure the process has this long to end by itself.
  static constexpr double kEndS = 5;
  static constexpr int kExitCode = 71;

  Watchdog(OperationRing ring, int rank, double timeout_s);
  ~Watchdog() override;

  /// From now on reports tell what `rank` is doing.
  void add_peer(int rank, OperationRing ring);
  /// Watches a blocking section that is not an operation (MPI_Finalize). Empty: it is over.
  void watch_section(const std::string& what);
  const OperationRing& ring() const { return ring_; }

  void issued(const OperationPtr& operation) override;
  void started(const OperationPtr& operation) override;
  void completed(const OperationPtr& operation) override;
  /// Prints the message; the process ends with kExitCode after kEndS if nobody ends it before.
  void failed(const std::string& message) override;
  std::string diagnose(const Operation& operation) override;

 private:
  void run();
  void check();
  [[noreturn]] void end(const std::string& message);
  void print(const std::string& message) const;
  std::string describe_peer(int rank, const Operation* operation) const;
  std::string describe_all(const Operation* operation) const;

  OperationRing ring_;
  const int rank_;
  const double timeout_s_;

  mutable std::mutex mutex_;
  std::map<int, OperationRing> peers_;
  std::map<int64_t, OperationPtr> in_flight_;  // by number: the oldest first
  std::string section_;
  double section_since_ = 0;
  double failed_at_ = 0;
  bool stopping_ = false;
  std::condition_variable condition_;
  std::thread thread_;
};

}  // namespace moesaic::parallel
