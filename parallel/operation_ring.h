// The recent operations of a rank in a small memory-mapped file, so that every rank of the node can
// say what any other one is doing, also when that one is stopped.
//
// Written without locks by the owner, read by anybody at any time: every field is an atomic, an
// entry may be torn between two operations, which its number shows.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>

#include "parallel/operation.h"

namespace moesaic::parallel {

/// What the ring tells about an operation.
struct OperationRecord {
  int64_t number = 0;  // the how-manieth of its rank, from 1
  OperationKind kind = OperationKind::barrier;
  int64_t sequence = 0;
  std::string group;
  int64_t context = 0;
  int64_t bytes = 0;
  int peer = -1;  // world rank; -1 for a collective
  enum class State : int64_t { issued, started, done, failed } state = State::issued;
  double seconds_ago = 0;  // since the last change of state
  std::string describe() const;
};

/// Seconds of CLOCK_MONOTONIC, which all processes of a machine share.
double monotonic_seconds();

class OperationRing {
 public:
  static constexpr int kNumEntries = 1024;
  static constexpr int kNumGroups = 256;

  /// Creates (or empties) the file and maps it. Throws CommunicationError with path and errno.
  static OperationRing create(const std::string& path, int rank);
  /// Maps the file of another rank, read-only; nothing if it is not there or not a ring of `rank`.
  static std::optional<OperationRing> open(const std::string& path, int rank);
  ~OperationRing();
  OperationRing(OperationRing&& other) noexcept;
  OperationRing& operator=(OperationRing&&) = delete;

  const std::string& path() const { return path_; }

  // --- the owner
  // ----------------------------------------------------------------------------------
  /// Returns the operation's number. Any thread.
  int64_t add(const Operation& operation);
  void set_state(const Operation& operation, OperationRecord::State state);
  void beat();

  // --- anybody
  // ------------------------------------------------------------------------------------
  int pid() const;
  double seconds_since_beat() const;
  /// Highest sequence number of a collective issued in the context; -1: none.
  int64_t last_issued(int64_t context) const;
  /// The oldest operation in flight, else the last one; nothing when there was none.
  std::optional<OperationRecord> current() const;

 private:
  struct File;
  OperationRing(std::string path, File* file) : path_(std::move(path)), file_(file) {}
  int find_group(const Group& group);
  OperationRecord read(int entry) const;

  std::string path_;
  File* file_;
  std::unique_ptr<std::mutex> mutex_ = std::make_unique<std::mutex>();
  int num_groups_ = 0;
};

}  // namespace moesaic::parallel
