// The one thread of a rank that moves messages: the CPU's communication stream.
//
// Open MPI has no progress thread, so this one makes all MPI calls. It starts operations in the
// order of their issue, progresses all of them, sleeps while there are none. The first error ends
// everything: what is in flight and whatever is issued later fails with it.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "parallel/communication_options.h"
#include "parallel/operation.h"
#include "parallel/transport.h"

namespace moesaic::parallel {

/// Is told of every operation of the rank. Called by the communication thread, `issued` by the
/// caller's thread.
class OperationObserver {
 public:
  virtual ~OperationObserver() = default;
  virtual void issued(const OperationPtr& operation) = 0;
  virtual void started(const OperationPtr& operation) = 0;
  virtual void completed(const OperationPtr& operation) = 0;
  /// The first error of this rank; the works fail a moment later, so that the peers see it too.
  virtual void failed(const std::string& message) = 0;
  /// What is known of the peers of an overdue operation. Any thread.
  virtual std::string diagnose(const Operation& operation) = 0;
};

class CommunicationThread {
 public:
  /// bell: rung by the transport on arrivals (if it does not need polling). observer may be null.
  CommunicationThread(std::unique_ptr<Transport> transport, std::shared_ptr<Bell> bell,
                      CommunicationOptions options, std::shared_ptr<OperationObserver> observer);
  /// As stop().
  ~CommunicationThread();
  CommunicationThread(const CommunicationThread&) = delete;
  CommunicationThread& operator=(const CommunicationThread&) = delete;

  /// Any thread. Operations of one group must be issued by one thread at a time.
  void issue(const OperationPtr& operation);
  /// Fails what is still in flight and ends the thread; idempotent. Without operations in flight
  /// nothing is lost.
  void stop();

  const CommunicationOptions& options() const { return options_; }
  const std::shared_ptr<OperationObserver>& observer() const { return observer_; }
  int rank() const { return rank_; }
  int size() const { return size_; }
  /// The next context that no group of this rank uses; see GroupCommunicator::split.
  int64_t next_context = 1;
  int64_t num_contexts() const { return num_contexts_; }
  /// Empty while all is well.
  std::string error() const;

 private:
  // Operations of a lane are matched in order: the collectives of a group, or its messages to (or
  // from) one peer. Different lanes do not wait for each other.
  using LaneKey = std::tuple<int64_t, int, int>;
  static LaneKey lane_of(const Operation& operation);

  void run();
  bool take_issued();
  bool advance_all();
  bool advance_lane(std::deque<OperationPtr>& lane);
  void fail_all(const std::string& message);
  void let_peers_see();

  const std::unique_ptr<Transport> transport_;
  const std::shared_ptr<Bell> bell_;
  const CommunicationOptions options_;
  const std::shared_ptr<OperationObserver> observer_;
  const int rank_, size_;
  const int64_t num_contexts_;

  std::map<LaneKey, std::deque<OperationPtr>> lanes_;
  // The library may still hold their buffers: kept until the end.
  std::vector<OperationPtr> abandoned_;

  mutable std::mutex mutex_;
  std::vector<OperationPtr> issued_;
  std::string error_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace moesaic::parallel
