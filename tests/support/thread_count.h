// A number of intra-op threads for a scope. Of the process: not for tests that spawn ranks.
#pragma once

#include <ATen/Parallel.h>

namespace moesaic::tests {

class ThreadCount {
 public:
  explicit ThreadCount(int num_threads) : before_(at::get_num_threads()) {
    at::set_num_threads(num_threads);
  }
  ~ThreadCount() { at::set_num_threads(before_); }
  ThreadCount(const ThreadCount&) = delete;
  ThreadCount& operator=(const ThreadCount&) = delete;

 private:
  int before_;
};

}  // namespace moesaic::tests
