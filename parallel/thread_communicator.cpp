#include "parallel/thread_communicator.h"

#include <cstring>
#include <deque>
#include <mutex>

#include "parallel/group_communicator.h"

namespace moesaic::parallel {

/// A queue of messages for each (source, destination, tag). Sends are buffered.
class ThreadWorld::Mailboxes {
 public:
  explicit Mailboxes(int size) : boxes_(size) {
    for (Box& box : boxes_) {
      box.bell = std::make_shared<Bell>();
    }
  }

  int size() const { return static_cast<int>(boxes_.size()); }
  std::shared_ptr<Bell> bell(int rank) { return boxes_[rank].bell; }

  void deliver(int source, int destination, int64_t tag, const void* data, int64_t bytes) {
    const char* begin = static_cast<const char*>(data);
    std::vector<char> message(begin, begin + bytes);
    Box& box = boxes_[destination];
    {
      std::lock_guard lock(box.mutex);
      box.messages[{source, tag}].push_back(std::move(message));
    }
    box.bell->ring();
  }

  bool take(int source, int destination, int64_t tag, void* data, int64_t bytes) {
    Box& box = boxes_[destination];
    std::vector<char> message;
    {
      std::lock_guard lock(box.mutex);
      const auto found = box.messages.find({source, tag});
      if (found == box.messages.end() || found->second.empty()) {
        return false;
      }
      message = std::move(found->second.front());
      found->second.pop_front();
    }
    if (static_cast<int64_t>(message.size()) != bytes) {
      throw CommunicationError("rank " + std::to_string(destination) + ": a message of " +
                               std::to_string(message.size()) + " bytes came from rank " +
                               std::to_string(source) + " where " + std::to_string(bytes) +
                               " were expected");
    }
    if (bytes > 0) {
      std::memcpy(data, message.data(), bytes);
    }
    return true;
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
  struct Box {
    std::mutex mutex;
    std::map<std::pair<int, int64_t>, std::deque<std::vector<char>>> messages;
    std::shared_ptr<Bell> bell;
  };
  std::vector<Box> boxes_;
  std::mutex mutex_;
  std::string failure_;
};

class ThreadWorld::MailRequest : public Request {
 public:
  MailRequest(Mailboxes& mailboxes, int source, int destination, int64_t tag, void* data,
              int64_t bytes)
      : mailboxes_(mailboxes),
        source_(source),
        destination_(destination),
        tag_(tag),
        data_(data),
        bytes_(bytes) {}
  bool done() override { return mailboxes_.take(source_, destination_, tag_, data_, bytes_); }

 private:
  Mailboxes& mailboxes_;
  const int source_, destination_;
  const int64_t tag_;
  void* const data_;
  const int64_t bytes_;
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
    return std::make_unique<MailRequest>(*mailboxes_, source, rank_, tag, data, bytes);
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
