#include "parallel/communication_thread.h"

#include <sys/prctl.h>

#include <limits>

namespace moesaic::parallel {

CommunicationThread::CommunicationThread(std::unique_ptr<Transport> transport,
                                         std::shared_ptr<Bell> bell, CommunicationOptions options,
                                         std::shared_ptr<OperationObserver> observer)
    : transport_(std::move(transport)),
      bell_(std::move(bell)),
      options_(std::move(options)),
      observer_(std::move(observer)),
      rank_(transport_->rank()),
      size_(transport_->size()),
      num_contexts_(transport_->num_tags() / kTagsPerContext) {
  thread_ = std::thread([this] { run(); });
}

CommunicationThread::~CommunicationThread() {
  stop();
}

void CommunicationThread::stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  bell_->ring();
  if (thread_.joinable()) {
    thread_.join();
  }
}

std::string CommunicationThread::error() const {
  std::lock_guard lock(mutex_);
  return error_;
}

void CommunicationThread::issue(const OperationPtr& operation) {
  {
    std::lock_guard lock(mutex_);
    if (stopping_ || !error_.empty()) {
      operation->fail("rank " + std::to_string(rank_) + ": " + operation->describe() +
                      " cannot start: " + (error_.empty() ? "the session is closed" : error_));
      return;
    }
    if (observer_) {
      operation->diagnose = [observer = observer_](const Operation& overdue) {
        return observer->diagnose(overdue);
      };
      observer_->issued(operation);
    }
    issued_.push_back(operation);
  }
  bell_->ring();
}

CommunicationThread::LaneKey CommunicationThread::lane_of(const Operation& operation) {
  const OperationKind kind = operation.plan().kind;
  const bool is_collective = kind != OperationKind::send && kind != OperationKind::recv;
  return {operation.group().context, is_collective ? 0 : (kind == OperationKind::send ? 1 : 2),
          is_collective ? -1 : operation.plan().peers.at(0)};
}

bool CommunicationThread::take_issued() {
  std::vector<OperationPtr> issued;
  {
    std::lock_guard lock(mutex_);
    issued.swap(issued_);
  }
  // In the lanes before the first start: when a start throws, all of them fail.
  for (const OperationPtr& operation : issued) {
    lanes_[lane_of(*operation)].push_back(operation);
  }
  for (const OperationPtr& operation : issued) {
    operation->start(*transport_);
    if (observer_) {
      observer_->started(operation);
    }
  }
  return !issued.empty();
}

bool CommunicationThread::advance_lane(std::deque<OperationPtr>& lane) {
  bool advanced = false;
  int last_stage = std::numeric_limits<int>::max();
  for (const OperationPtr& operation : lane) {
    advanced |= operation->advance(*transport_, last_stage);
    if (!operation->finished()) {
      last_stage = std::min(last_stage, operation->stage());
    }
  }
  while (!lane.empty() && lane.front()->finished()) {
    if (observer_) {
      observer_->completed(lane.front());
    }
    lane.front()->complete();
    lane.pop_front();
  }
  return advanced;
}

bool CommunicationThread::advance_all() {
  bool advanced = take_issued();
  for (auto it = lanes_.begin(); it != lanes_.end();) {
    advanced |= advance_lane(it->second);
    it = it->second.empty() ? lanes_.erase(it) : std::next(it);
  }
  return advanced;
}

/// Our headers must reach the peers before this process may end: both sides report a mismatch.
void CommunicationThread::let_peers_see() {
  constexpr int kRounds = 60;
  for (int round = 0; round < kRounds; ++round) {
    for (auto& [key, lane] : lanes_) {
      for (const OperationPtr& operation : lane) {
        try {
          operation->poll_sends();
        } catch (const CommunicationError&) {
          // The first error is the one that is reported.
        }
      }
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

void CommunicationThread::fail_all(const std::string& message) {
  std::vector<OperationPtr> operations;
  {
    std::lock_guard lock(mutex_);
    error_ = message;
    operations.swap(issued_);
  }
  for (auto& [key, lane] : lanes_) {
    operations.insert(operations.end(), lane.begin(), lane.end());
  }
  lanes_.clear();
  for (const OperationPtr& operation : operations) {
    operation->fail(message);
  }
  abandoned_ = std::move(operations);
}

void CommunicationThread::run() {
  // The default slack of 50 us would double every short sleep.
  prctl(PR_SET_TIMERSLACK, 1000UL, 0, 0, 0);
  constexpr double kShortest = 20e-6, kLongest = 100e-6, kIdle = 0.5;
  double pause = kShortest;
  int yields = 0;
  try {
    while (true) {
      // Asked first: what a failed rank has sent before its end still counts.
      const std::string failure = transport_->failure();
      if (advance_all()) {
        pause = kShortest;
        yields = 0;
        continue;
      }
      {
        std::lock_guard lock(mutex_);
        if (stopping_) {
          break;
        }
      }
      if (!failure.empty() && !lanes_.empty()) {
        throw CommunicationError("rank " + std::to_string(rank_) + ": " + failure);
      }
      if (lanes_.empty() || !transport_->needs_polling()) {
        bell_->wait(kIdle);
      } else if (++yields < 10) {
        std::this_thread::yield();
      } else {
        bell_->wait(pause);
        pause = std::min(2 * pause, kLongest);
      }
    }
    fail_all("rank " + std::to_string(rank_) + ": the session was closed before the end of the " +
             "operation");
  } catch (const std::exception& error) {
    if (observer_) {
      observer_->failed(error.what());
      let_peers_see();
    }
    fail_all(error.what());
  }
}

}  // namespace moesaic::parallel
