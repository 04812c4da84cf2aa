// One operation of a communicator: a header exchange with every peer, then stages of messages.
//
// Invariant: no payload is received, summed or handed out before the headers of all peers have
// been compared with ours. It is built by the caller and then advanced by the communication thread.
#pragma once

#include <ATen/core/Tensor.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "parallel/communicator.h"
#include "parallel/transport.h"

namespace moesaic::parallel {

enum class OperationKind : int32_t {
  all_reduce_sum,
  all_reduce_max,
  all_gather,
  reduce_scatter_sum,
  all_to_all_v,
  broadcast,
  send,
  recv,
  barrier,
  split,
  finalize,
};
const char* to_string(OperationKind kind);

/// Who takes part: rank r of the communicator is world rank world_ranks[r]. `context` separates
/// the messages of communicators that share ranks.
struct Group {
  std::string name;
  int64_t context = 0;
  int rank = 0;
  std::vector<int> world_ranks;
  int size() const { return static_cast<int>(world_ranks.size()); }
  /// Of this rank. All messages name world ranks.
  int world_rank() const { return world_ranks[rank]; }
};

/// peer: rank in the group.
struct Message {
  int peer = 0;
  char* data = nullptr;
  int64_t bytes = 0;
};

/// Messages that travel together. `then` runs once all have arrived.
struct Stage {
  std::vector<Message> sends;
  std::vector<Message> receives;
  std::function<void()> then;
};

/// What an operation is, and what it moves. At most kMaxStages stages.
struct OperationPlan {
  OperationKind kind = OperationKind::barrier;
  int64_t bytes = 0;  // of this rank's argument; all ranks agree on it except in all_to_all_v
  at::ScalarType dtype = at::kByte;
  int64_t row_bytes = 0;  // all_to_all_v
  int root = -1;          // broadcast
  /// all_to_all_v: rows for and from each rank of the group.
  std::vector<int64_t> input_rows, output_rows;
  std::vector<int> peers;  // ranks of the group, without this one
  std::vector<Stage> stages;
  std::vector<at::Tensor> keep_alive;
  std::shared_ptr<void> scratch;
};
inline constexpr int kMaxStages = 2;

/// The fixed message that precedes every payload.
struct OperationHeader {
  int32_t kind = 0;
  int32_t dtype = 0;
  int64_t sequence = 0;
  int64_t bytes = 0;
  int64_t row_bytes = 0;
  int64_t rows_to_peer = 0;
  int64_t rows_from_peer = 0;
  int32_t root = -1;
  int32_t rank = 0;  // of the sender, in the world
};

/// Empty when the two fit, else a sentence with both values of every difference.
std::string compare_headers(const OperationHeader& here, const OperationHeader& there);

/// Tags that one context uses: 8 roles x 16 sequence numbers.
inline constexpr int64_t kTagsPerContext = 128;

class Operation : public Work {
 public:
  using Clock = std::chrono::steady_clock;

  Operation(std::shared_ptr<const Group> group, int64_t sequence, OperationPlan plan,
            double timeout_s, int64_t max_message_bytes);

  void wait() override;

  const Group& group() const { return *group_; }
  int64_t sequence() const { return sequence_; }
  const OperationPlan& plan() const { return plan_; }
  Clock::time_point issued_at() const { return issued_at_; }
  /// "all_reduce_sum #12 of 'world' (4000 bytes Float)"
  std::string describe() const;
  /// What is missing, by rank: "nothing heard from rank 2".
  std::string describe_missing() const;
  /// Adds to the message of a deadline: what is known about the peers. Set before issuing.
  std::function<std::string(const Operation&)> diagnose;
  /// Number in the operation ring; 0 without one. Set before issuing.
  int64_t ring_number = 0;

  // --- for the communication thread -------------------------------------------------------------
  /// Posts the headers and the sends of the first stage.
  void start(Transport& transport);
  /// Advances as far as the arrived messages allow, but posts stage s only when s <= last_stage.
  /// Returns whether anything happened. Throws CommunicationError.
  bool advance(Transport& transport, int last_stage);
  /// -1: headers; then the index of the posted stage; size of the plan when all is done.
  int stage() const { return stage_; }
  bool finished() const { return stage_ == static_cast<int>(plan_.stages.size()); }
  /// Gives sends that are under way another push. Throws CommunicationError.
  bool poll_sends();
  void complete();
  void fail(const std::string& message);

 private:
  enum class Result { pending, done, failed };
  struct Pending {
    int peer_index;
    RequestPtr request;
  };
  enum Role { kHeader, kStage0, kStage1, kSendHeader, kRecvHeader, kPayload };

  int64_t tag(Role role) const;
  Role payload_role(int stage) const;
  bool is_point_to_point() const;
  OperationHeader header_for(int peer) const;
  void post_sends(Transport& transport, int stage);
  void post_receives(Transport& transport, int stage);
  void post(Transport& transport, const Message& message, Role role, bool is_send, int stage);
  void check_header(int peer_index);

  const std::shared_ptr<const Group> group_;
  const int64_t sequence_;
  OperationPlan plan_;
  const double timeout_s_;
  const int64_t max_message_bytes_;
  const Clock::time_point issued_at_ = Clock::now();

  int stage_ = -1;
  std::vector<OperationHeader> sent_headers_, received_headers_;
  std::vector<Pending> pending_headers_;
  std::vector<Pending> pending_sends_;
  std::vector<std::vector<Pending>> pending_payload_;  // by stage; sends and receives
  // Messages that each peer still owes us, by index in plan_.peers: read by wait() of the caller.
  std::unique_ptr<std::atomic<bool>[]> has_header_;
  std::unique_ptr<std::atomic<int>[]> owed_;

  std::mutex mutex_;
  std::condition_variable condition_;
  Result result_ = Result::pending;
  std::string error_;
};
using OperationPtr = std::shared_ptr<Operation>;

}  // namespace moesaic::parallel
