// Loads what the next steps need, in a thread of its own, while the current step computes.
//
// What is loaded is a pure function of the step, so the prefetcher has no position worth saving: a
// restart at any step gives the same items. Invariant: at most `depth` items wait.
#pragma once

#include <pthread.h>

#include <condition_variable>
#include <csignal>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <utility>

namespace moesaic::trainer {

/// next() belongs to one caller. `load` runs in the prefetch thread, must be safe to call there and
/// must touch neither MPI nor a thread pool. The thread takes no signals: they go to the others.
template <typename Item>
class Prefetcher {
 public:
  /// load(step) gives the item of a step; depth >= 1 items are loaded ahead.
  Prefetcher(std::function<Item(int64_t)> load, int64_t depth)
      : load_(std::move(load)), depth_(static_cast<size_t>(depth)) {
    if (depth < 1) {
      throw std::invalid_argument("Prefetcher: depth must be >= 1, got " + std::to_string(depth));
    }
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    thread_ = std::thread([this] { run(); });
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }

  /// Waits for a load that is under way, drops what waits.
  ~Prefetcher() {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }

  Prefetcher(const Prefetcher&) = delete;
  Prefetcher& operator=(const Prefetcher&) = delete;

  /// The item of `step`. Steps in a row are prefetched; any other step starts anew from there.
  /// Rethrows what load(step) threw; the same step may then be asked for again.
  Item next(int64_t step) {
    std::unique_lock lock(mutex_);
    if (!running_ || step != next_out_) {
      ready_.clear();
      next_out_ = step;
      next_in_ = step;
      ++generation_;
      running_ = true;
      changed_.notify_all();
    }
    changed_.wait(lock, [&] { return !ready_.empty(); });
    Loaded loaded = std::move(ready_.front());
    ready_.pop_front();
    ++next_out_;
    if (loaded.error) {
      running_ = false;
      std::rethrow_exception(loaded.error);
    }
    changed_.notify_all();
    return std::move(loaded.item);
  }

 private:
  struct Loaded {
    Item item;
    std::exception_ptr error;
  };

  void run() {
    std::unique_lock lock(mutex_);
    while (true) {
      changed_.wait(lock, [&] { return stopping_ || (wanted() && !failed_ahead()); });
      if (stopping_) {
        return;
      }
      const int64_t step = next_in_++;
      const int64_t generation = generation_;
      lock.unlock();
      Loaded loaded;
      try {
        loaded.item = load_(step);
      } catch (...) {
        loaded.error = std::current_exception();
      }
      lock.lock();
      if (generation == generation_) {
        ready_.push_back(std::move(loaded));
        changed_.notify_all();
      }
    }
  }

  bool wanted() const { return running_ && ready_.size() < depth_; }
  bool failed_ahead() const { return !ready_.empty() && ready_.back().error; }

  std::function<Item(int64_t)> load_;
  size_t depth_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Loaded> ready_;
  int64_t next_out_ = 0;    // the step at the front of ready_
  int64_t next_in_ = 0;     // the step that is loaded next
  int64_t generation_ = 0;  // a load of an older generation is dropped when it arrives
  bool running_ = false;
  bool stopping_ = false;
  std::thread thread_;  // the last member: it uses all others
};

}  // namespace moesaic::trainer
