#include "parallel/thread_communicator.h"

#include <cstring>
#include <deque>
#include <mutex>

#include "parallel/group_communicator.h"

namespace moesaic::parallel {

/// For each (source, destination, tag) a queue of messages that wait for a receive, or of receives
/// that wait for a message; both are matched in order. Sends are buffered.
class ThreadWorld::Mailboxes {
 public:
  struct Receive {
    void* data;
    int64_t bytes;
    bool arrived = false;
    int64_t arrived_bytes = 0;
  };

  explicit Mailboxes(int size) : boxes_(size) {
    for (Box& box : boxes_) {
      box.bell = std::make_shared<Bell>();
    }
  }

  int size() const { return static_cast<int>(boxes_.size()); }
  std::shared_ptr<Bell> bell(int rank) { return boxes_[rank].bell; }

  void deliver(int source, int destination, int64_t tag, const void* data, int64_t bytes) {
    Box& box = boxes_[destination];
    {
      std::lock_guard lock(box.mutex);
      Queue& queue = box.queues[{source, tag}];
      if (queue.receives.empty()) {
        const char* begin = static_cast<const char*>(data);
        queue.messages.emplace_back(begin, begin + bytes);
      } else {
        hand_over(*queue.receives.front(), data, bytes);
        queue.receives.pop_front();
      }
    }
    box.bell->ring();
  }

  std::shared_ptr<Receive> post(int source, int destination, int64_t tag, void* data,
                                int64_t bytes) {
    auto receive = std::make_shared<Receive>(Receive{.data = data, .bytes = bytes});
    Box& box = boxes_[destination];
    std::lock_guard lock(box.mutex);
    Queue& queue = box.queues[{source, tag}];
    if (queue.messages.empty()) {
      queue.receives.push_back(receive);
    } else {
      hand_over(*receive, queue.messages.front().data(),
                static_cast<int64_t>(queue.messages.front().size()));
      queue.messages.pop_front();
    }
    return receive;
  }

  bool arrived(int destination, const Receive& receive) {
    std::lock_guard lock(boxes_[destination].mutex);
    return receive.arrived;
  }

  /// The buffer of a receive that has not arrived is about to go.
  void withdraw(int source, int destination, int64_t tag, const std::shared_ptr<Receive>& receive) {
    Box& box = boxes_[destination];
    std::lock_guard lock(box.mutex);
    std::erase(box.queues[{source, tag}].receives, receive);
  }

  void fail(const std::string& failure) {
    {
      std::lock_guard lock(mutex_);
      if (failure_.empty()) {
        failure_ = failure;
      }
    }
    for (Box& box : boxes_) {
      box.bell->ring();
    }
  }

  std::string failure() {
    std::lock_guard lock(mutex_);
    return failure_;
  }

 private:
  struct Queue {
    std::deque<std::vector<char>> messages;
    std::deque<std::shared_ptr<Receive>> receives;
  };
  struct Box {
    std::mutex mutex;
    std::map<std::pair<int, int64_t>, Queue> queues;
    std::shared_ptr<Bell> bell;
  };

  static void hand_over(Receive& receive, const void* data, int64_t bytes) {
    receive.arrived = true;
    receive.arrived_bytes = bytes;
    if (bytes == receive.bytes && bytes > 0) {
      std::memcpy(receive.data, data, bytes);
    }
  }

  std::vector<Box> boxes_;
  std::mutex mutex_;
  std::string failure_;
};

class ThreadWorld::MailRequest : public Request {
 public:
  MailRequest(std::shared_ptr<Mailboxes> mailboxes, int source, int destination, int64_t tag,
              void* data, int64_t bytes)
      : mailboxes_(std::move(mailboxes)),
        source_(source),
        destination_(destination),
        tag_(tag),
        receive_(mailboxes_->post(source, destination, tag, data, bytes)) {}
  ~MailRequest() override { mailboxes_->withdraw(source_, destination_, tag_, receive_); }

  bool done() override {
    if (!mailboxes_->arrived(destination_, *receive_)) {
      return false;
    }
    if (receive_->arrived_bytes != receive_->bytes) {
      throw CommunicationError("rank " + std::to_string(destination_) + ": a message of " +
                               std::to_string(receive_->arrived_bytes) + " bytes came from rank " +
                               std::to_string(source_) + " where " +
                               std::to_string(receive_->bytes) + " were expected");
    }
    return true;
  }

 private:
  const std::shared_ptr<Mailboxes> mailboxes_;
  const int source_, destination_;
  const int64_t tag_;
  const std::shared_ptr<Mailboxes::Receive> receive_;
};

namespace {

class DeliveredRequest : public Request {
 public:
  bool done() override { return true; }
};

}  // namespace

class ThreadWorld::MailTransport : public Transport {
 public:
  MailTransport(std::shared_ptr<Mailboxes> mailboxes, int rank)
      : mailboxes_(std::move(mailboxes)), rank_(rank) {}
  int rank() const override { return rank_; }
  int size() const override { return mailboxes_->size(); }
  int64_t num_tags() const override { return int64_t{1} << 40; }
  RequestPtr send(int destination, int64_t tag, const void* data, int64_t bytes) override {
    mailboxes_->deliver(rank_, destination, tag, data, bytes);
    return std::make_unique<DeliveredRequest>();
  }
  RequestPtr receive(int source, int64_t tag, void* data, int64_t bytes) override {
    return std::make_unique<MailRequest>(mailboxes_, source, rank_, tag, data, bytes);
  }
  bool needs_polling() const override { return false; }
  std::string failure() override { return mailboxes_->failure(); }

 private:
  const std::shared_ptr<Mailboxes> mailboxes_;
  const int rank_;
};

ThreadWorld::ThreadWorld(int size, CommunicationOptions options)
    : mailboxes_(std::make_shared<Mailboxes>(size)), options_(std::move(options)) {}

ThreadWorld::~ThreadWorld() = default;

int ThreadWorld::size() const {
  return mailboxes_->size();
}

CommunicatorPtr ThreadWorld::communicator(int rank) {
  auto thread = std::make_shared<CommunicationThread>(
      std::make_unique<MailTransport>(mailboxes_, rank), mailboxes_->bell(rank), options_,
      /*observer=*/nullptr);
  Group group{.name = "world", .context = 0, .rank = rank, .world_ranks = {}};
  for (int other = 0; other < size(); ++other) {
    group.world_ranks.push_back(other);
  }
  return std::make_shared<GroupCommunicator>(std::move(thread), std::move(group));
}

void ThreadWorld::fail(int rank, const std::string& what) {
  mailboxes_->fail("rank " + std::to_string(rank) + " failed: " + what);
}

CommunicatorPtr make_single_communicator() {
  return ThreadWorld(1).communicator(0);
}

}  // namespace moesaic::parallel
