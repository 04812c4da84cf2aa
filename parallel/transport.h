// Bytes from rank to rank: all that a back-end has to provide. The algorithms above it are shared,
// so that threads and MPI give the same bits.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

namespace moesaic::parallel {

/// A message on its way.
class Request {
 public:
  virtual ~Request() = default;
  /// True once the buffer may be reused (send) or read (receive). Never blocks; once true, it is
  /// not asked again. Throws CommunicationError.
  virtual bool done() = 0;
};
using RequestPtr = std::unique_ptr<Request>;

/// Wakes a communication thread.
class Bell {
 public:
  void ring();
  /// Returns at the next ring (or at once after one that nobody has waited for yet), or after
  /// `seconds`.
  void wait(double seconds);

 private:
  std::mutex mutex_;
  std::condition_variable condition_;
  bool rung_ = false;
};

/// Point-to-point messages between the ranks of the world. Used by one thread.
///
/// Messages with equal (source, destination, tag) arrive in the order of their sending and are
/// matched in the order in which the receives were posted.
class Transport {
 public:
  virtual ~Transport() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  /// Tags are 0 ... num_tags() - 1.
  virtual int64_t num_tags() const = 0;
  /// bytes: at most CommunicationOptions::max_message_bytes.
  virtual RequestPtr send(int destination, int64_t tag, const void* data, int64_t bytes) = 0;
  virtual RequestPtr receive(int source, int64_t tag, void* data, int64_t bytes) = 0;
  /// True when messages advance only while somebody asks; false when an arrival rings the bell.
  virtual bool needs_polling() const = 0;
  /// Why no further message can be expected ("rank 2 failed: ..."); empty while all is well.
  virtual std::string failure() = 0;
};

}  // namespace moesaic::parallel
