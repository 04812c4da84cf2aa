#include "trainer/checkpoint/faulty_file_operations.h"

#include <cerrno>

namespace moesaic::trainer {

ssize_t FaultyFileOperations::pwrite(int file, const void* data, size_t num_bytes, int64_t offset) {
  if (!is_armed_)
    return FileOperations::pwrite(file, data, num_bytes, offset);
  has_fired_ = true;
  if (fault_ == FileFault::kNoSpace) {
    errno = ENOSPC;
    return -1;
  }
  FileOperations::pwrite(file, data, num_bytes / 2, offset);
  return static_cast<ssize_t>(num_bytes);
}

int FaultyFileOperations::allocate(int file, int64_t num_bytes) {
  if (!is_armed_ || fault_ != FileFault::kNoSpace) {
    return FileOperations::allocate(file, num_bytes);
  }
  has_fired_ = true;
  errno = ENOSPC;
  return -1;
}

}  // namespace moesaic::trainer
