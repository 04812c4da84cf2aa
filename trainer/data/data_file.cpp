#include "trainer/data/data_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <cstring>

#include "trainer/exit_code.h"

namespace moesaic::trainer {

static_assert(std::endian::native == std::endian::little, "data files are little-endian");

void throw_bad_data(const std::string& path, int64_t offset, const std::string& rule,
                    const std::string& value) {
  throw ExitError(ExitCode::kBadFile,
                  path + ": byte " + std::to_string(offset) + ": " + rule + ", found " + value);
}

DataFile::DataFile(std::string path) : path_(std::move(path)) {
  // Without O_NONBLOCK a FIFO would wait for its writer.
  descriptor_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor_ < 0) {
    const int error = errno;
    const bool absent = error == ENOENT || error == ENOTDIR || error == EACCES || error == ELOOP ||
                        error == ENAMETOOLONG;
    throw ExitError(absent ? ExitCode::kNoInput : ExitCode::kStorage,
                    path_ + ": cannot be opened: " + std::strerror(error));
  }
  struct stat status {};
  if (::fstat(descriptor_, &status) != 0 || !S_ISREG(status.st_mode)) {
    ::close(descriptor_);
    throw ExitError(ExitCode::kBadFile, path_ + ": must be a regular file");
  }
  size_ = status.st_size;
}

DataFile::~DataFile() {
  ::close(descriptor_);
}

void DataFile::read(int64_t offset, std::span<std::byte> bytes) const {
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t count = ::pread(descriptor_, bytes.data() + done, bytes.size() - done,
                                  offset + static_cast<int64_t>(done));
    if (count < 0 && errno == EINTR) {
      continue;
    }
    if (count < 0) {
      throw ExitError(ExitCode::kStorage, path_ + ": byte " + std::to_string(offset) +
                                              ": cannot be read: " + std::strerror(errno));
    }
    if (count == 0) {
      throw_bad_data(path_, offset,
                     "must hold " + std::to_string(bytes.size()) + " bytes here (it had " +
                         std::to_string(size_) + " in all when it was opened)",
                     std::to_string(done) + " before the end of the file");
    }
    done += static_cast<size_t>(count);
  }
}

}  // namespace moesaic::trainer
