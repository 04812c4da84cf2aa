#include "parallel/operation.h"

namespace moesaic::parallel {

namespace {

const char* const kKindNames[] = {
    "all_reduce_sum", "all_reduce_max", "all_gather", "reduce_scatter_sum",
    "all_to_all_v",   "broadcast",      "send",       "recv",
    "barrier",        "split",          "finalize"};

bool kinds_fit(OperationKind here, OperationKind there) {
  if (here == OperationKind::send) {
    return there == OperationKind::recv;
  }
  if (here == OperationKind::recv) {
    return there == OperationKind::send;
  }
  return here == there;
}

std::string describe_header(const OperationHeader& header) {
  std::string text = std::string(to_string(static_cast<OperationKind>(header.kind))) + " #" +
                     std::to_string(header.sequence) + ", " + std::to_string(header.bytes) +
                     " bytes " + c10::toString(static_cast<at::ScalarType>(header.dtype));
  if (static_cast<OperationKind>(header.kind) == OperationKind::all_to_all_v) {
    text += ", sends " + std::to_string(header.rows_to_peer) + " and expects " +
            std::to_string(header.rows_from_peer) + " rows of " + std::to_string(header.row_bytes) +
            " bytes";
  }
  if (static_cast<OperationKind>(header.kind) == OperationKind::broadcast) {
    text += ", root " + std::to_string(header.root);
  }
  return text;
}

}  // namespace

void Bell::ring() {
  {
    std::lock_guard lock(mutex_);
    rung_ = true;
  }
  condition_.notify_one();
}

void Bell::wait(double seconds) {
  std::unique_lock lock(mutex_);
  condition_.wait_for(lock, std::chrono::duration<double>(seconds), [this] { return rung_; });
  rung_ = false;
}

const char* to_string(OperationKind kind) {
  const auto index = static_cast<size_t>(kind);
  return index < std::size(kKindNames) ? kKindNames[index] : "unknown operation";
}

std::string compare_headers(const OperationHeader& here, const OperationHeader& there) {
  const auto kind = static_cast<OperationKind>(here.kind);
  std::string differences;
  auto differ = [&](const char* what, bool fits) {
    if (!fits) {
      differences += (differences.empty() ? "" : ", ") + std::string(what);
    }
  };
  differ("operation", kinds_fit(kind, static_cast<OperationKind>(there.kind)));
  differ("sequence number", here.sequence == there.sequence);
  differ("type", here.dtype == there.dtype);
  if (kind == OperationKind::all_to_all_v) {
    differ("row size", here.row_bytes == there.row_bytes);
    differ("rows",
           here.rows_to_peer == there.rows_from_peer && here.rows_from_peer == there.rows_to_peer);
  } else {
    differ("size", here.bytes == there.bytes);
  }
  differ("root", here.root == there.root);
  if (differences.empty()) {
    return {};
  }
  return "ranks " + std::to_string(here.rank) + " and " + std::to_string(there.rank) +
         " disagree in " + differences + ": rank " + std::to_string(here.rank) + " has " +
         describe_header(here) + "; rank " + std::to_string(there.rank) + " has " +
         describe_header(there);
}

Operation::Operation(std::shared_ptr<const Group> group, int64_t sequence, OperationPlan plan,
                     double timeout_s, int64_t max_message_bytes)
    : group_(std::move(group)),
      sequence_(sequence),
      plan_(std::move(plan)),
      timeout_s_(timeout_s),
      max_message_bytes_(max_message_bytes),
      pending_payload_(plan_.stages.size()) {
  TORCH_INTERNAL_ASSERT(plan_.stages.size() <= kMaxStages);
  const size_t num_peers = plan_.peers.size();
  has_header_ = std::make_unique<std::atomic<bool>[]>(num_peers);
  owed_ = std::make_unique<std::atomic<int>[]>(num_peers);
}

std::string Operation::describe() const {
  std::string text = std::string(to_string(plan_.kind)) + " #" + std::to_string(sequence_) +
                     " of '" + group_->name + "'";
  if (is_point_to_point()) {
    text += (plan_.kind == OperationKind::send ? " to rank " : " from rank ") +
            std::to_string(group_->world_ranks[plan_.peers.at(0)]);
  }
  return text + " (" + std::to_string(plan_.bytes) + " bytes " + c10::toString(plan_.dtype) + ")";
}

std::string Operation::describe_missing() const {
  std::string absent, unfinished;
  for (size_t i = 0; i < plan_.peers.size(); ++i) {
    const std::string peer = std::to_string(group_->world_ranks[plan_.peers[i]]);
    if (!has_header_[i]) {
      absent += (absent.empty() ? "" : ", ") + peer;
    } else if (owed_[i] > 0) {
      unfinished += (unfinished.empty() ? "" : ", ") + peer;
    }
  }
  std::string text;
  if (!absent.empty()) {
    text = "nothing heard from rank " + absent;
  } else if (!unfinished.empty()) {
    text = "messages with rank " + unfinished + " unfinished";
  }
  return text.empty() ? "waiting for earlier operations" : text;
}

void Operation::wait() {
  std::unique_lock lock(mutex_);
  const auto deadline = issued_at_ + std::chrono::duration_cast<Clock::duration>(
                                         std::chrono::duration<double>(timeout_s_));
  condition_.wait_until(lock, deadline, [this] { return result_ != Result::pending; });
  if (result_ == Result::done) {
    return;
  }
  if (result_ == Result::failed) {
    throw CommunicationError(error_);
  }
  lock.unlock();
  std::string message = "rank " + std::to_string(group_->world_rank()) + ": " + describe() +
                        " did not complete within " + c10::str(timeout_s_) +
                        " s: " + describe_missing();
  if (diagnose) {
    message += "\n" + diagnose(*this);
  }
  throw CommunicationError(message);
}

// --- the communication thread's side ------------------------------------------------------------

bool Operation::is_point_to_point() const {
  return plan_.kind == OperationKind::send || plan_.kind == OperationKind::recv;
}

int64_t Operation::tag(Role role) const {
  return group_->context * kTagsPerContext + role * 16 + sequence_ % 16;
}

Operation::Role Operation::payload_role(int stage) const {
  if (is_point_to_point()) {
    return kPayload;
  }
  return stage == 0 ? kStage0 : kStage1;
}

OperationHeader Operation::header_for(int peer) const {
  OperationHeader header;
  header.kind = static_cast<int32_t>(plan_.kind);
  header.dtype = static_cast<int32_t>(plan_.dtype);
  header.sequence = sequence_;
  header.bytes = plan_.bytes;
  header.row_bytes = plan_.row_bytes;
  if (!plan_.input_rows.empty()) {
    header.rows_to_peer = plan_.input_rows[peer];
    header.rows_from_peer = plan_.output_rows[peer];
  }
  header.root = plan_.root;
  header.rank = group_->world_rank();
  return header;
}

void Operation::start(Transport& transport) {
  const size_t num_peers = plan_.peers.size();
  sent_headers_.resize(num_peers);
  received_headers_.resize(num_peers);
  Role send_role = kHeader, receive_role = kHeader;
  if (is_point_to_point()) {
    const bool is_sender = plan_.kind == OperationKind::send;
    send_role = is_sender ? kSendHeader : kRecvHeader;
    receive_role = is_sender ? kRecvHeader : kSendHeader;
  }
  for (size_t i = 0; i < num_peers; ++i) {
    const int world_rank = group_->world_ranks[plan_.peers[i]];
    sent_headers_[i] = header_for(plan_.peers[i]);
    pending_headers_.push_back(
        {static_cast<int>(i), transport.receive(world_rank, tag(receive_role),
                                                &received_headers_[i], sizeof(OperationHeader))});
    pending_sends_.push_back(
        {static_cast<int>(i),
         transport.send(world_rank, tag(send_role), &sent_headers_[i], sizeof(OperationHeader))});
  }
  if (!plan_.stages.empty()) {
    post_sends(transport, 0);
  }
}

void Operation::post(Transport& transport, const Message& message, Role role, bool is_send,
                     int stage) {
  const int world_rank = group_->world_ranks[message.peer];
  const auto peer = std::find(plan_.peers.begin(), plan_.peers.end(), message.peer);
  const int peer_index = static_cast<int>(peer - plan_.peers.begin());
  for (int64_t begin = 0; begin < message.bytes; begin += max_message_bytes_) {
    const int64_t bytes = std::min(max_message_bytes_, message.bytes - begin);
    char* data = message.data + begin;
    RequestPtr request = is_send ? transport.send(world_rank, tag(role), data, bytes)
                                 : transport.receive(world_rank, tag(role), data, bytes);
    pending_payload_[stage].push_back({peer_index, std::move(request)});
    ++owed_[peer_index];
  }
}

void Operation::post_sends(Transport& transport, int stage) {
  for (const Message& message : plan_.stages[stage].sends) {
    post(transport, message, payload_role(stage), /*is_send=*/true, stage);
  }
}

void Operation::post_receives(Transport& transport, int stage) {
  for (const Message& message : plan_.stages[stage].receives) {
    post(transport, message, payload_role(stage), /*is_send=*/false, stage);
  }
}

bool Operation::poll_sends() {
  // A request that is null was moved from when an earlier call threw half-way.
  return std::erase_if(pending_sends_, [](Pending& entry) {
           return entry.request == nullptr || entry.request->done();
         }) > 0;
}

void Operation::check_header(int i) {
  const std::string differences = compare_headers(sent_headers_[i], received_headers_[i]);
  if (!differences.empty()) {
    throw CommunicationError("rank " + std::to_string(group_->world_rank()) + ": " + describe() +
                             ": " + differences);
  }
  has_header_[i] = true;
}

bool Operation::advance(Transport& transport, int last_stage) {
  bool advanced = poll_sends();
  const int num_stages = static_cast<int>(plan_.stages.size());
  while (!finished()) {
    auto& pending = stage_ < 0 ? pending_headers_ : pending_payload_[stage_];
    const size_t before = pending.size();
    std::erase_if(pending, [this](Pending& entry) {
      if (!entry.request->done()) {
        return false;
      }
      if (stage_ < 0) {
        check_header(entry.peer_index);
      } else {
        --owed_[entry.peer_index];
      }
      return true;
    });
    advanced |= pending.size() != before;
    const bool is_last = stage_ + 1 == num_stages;
    if (!pending.empty() || (is_last && !pending_sends_.empty()) ||
        (!is_last && stage_ + 1 > last_stage)) {
      return advanced;
    }
    if (stage_ >= 0 && plan_.stages[stage_].then) {
      plan_.stages[stage_].then();
    }
    ++stage_;
    advanced = true;
    if (!finished()) {
      post_receives(transport, stage_);
      if (stage_ > 0) {
        post_sends(transport, stage_);
      }
    }
  }
  return advanced;
}

void Operation::complete() {
  {
    std::lock_guard lock(mutex_);
    if (result_ != Result::pending) {
      return;
    }
    result_ = Result::done;
    plan_.keep_alive.clear();
    plan_.scratch.reset();
    for (Stage& stage : plan_.stages) {
      stage = Stage{};  // lets go of the tensors
    }
  }
  condition_.notify_all();
}

void Operation::fail(const std::string& message) {
  {
    std::lock_guard lock(mutex_);
    if (result_ != Result::pending) {
      return;
    }
    result_ = Result::failed;
    error_ = message;
  }
  condition_.notify_all();
}

}  // namespace moesaic::parallel
