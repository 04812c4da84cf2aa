// debug.fault `enospc` and `short_write`: a disk that fills up, and one that loses data silently.
#pragma once

#include <atomic>

#include "trainer/checkpoint/file_operations.h"

namespace moesaic::trainer {

enum class FileFault {
  kNoSpace,    ///< every pwrite and allocate fails with ENOSPC
  kLostWrite,  ///< every pwrite stores half of its bytes and reports all of them
};

/// Plain system calls until arm() (called from SaveRequest::at_phase), then the fault.
class FaultyFileOperations : public FileOperations {
 public:
  explicit FaultyFileOperations(FileFault fault) : fault_(fault) {}
  void arm() { is_armed_ = true; }
  /// False: there was nothing to hit.
  bool has_fired() const { return has_fired_; }

  ssize_t pwrite(int file, const void* data, size_t num_bytes, int64_t offset) override;
  int allocate(int file, int64_t num_bytes) override;

 private:
  FileFault fault_;
  std::atomic<bool> is_armed_ = false;
  std::atomic<bool> has_fired_ = false;
};

}  // namespace moesaic::trainer
