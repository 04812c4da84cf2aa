#include "trainer/checkpoint/file_operations.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "trainer/exit_code.h"

namespace moesaic::trainer {

int FileOperations::open(const char* path, int flags, mode_t mode) {
  return ::open(path, flags, mode);
}

ssize_t FileOperations::pwrite(int file, const void* data, size_t num_bytes, int64_t offset) {
  return ::pwrite(file, data, num_bytes, offset);
}

ssize_t FileOperations::pread(int file, void* data, size_t num_bytes, int64_t offset) {
  return ::pread(file, data, num_bytes, offset);
}

int FileOperations::allocate(int file, int64_t num_bytes) {
  if (num_bytes == 0 || ::fallocate(file, 0, 0, num_bytes) == 0)
    return 0;
  return errno == EOPNOTSUPP || errno == ENOSYS ? ::ftruncate(file, num_bytes) : -1;
}

int FileOperations::fsync(int file) {
  return ::fsync(file);
}

int FileOperations::mkdir(const char* path) {
  return ::mkdir(path, 0777);
}

int FileOperations::rename(const char* from, const char* to) {
  return ::rename(from, to);
}

int FileOperations::exchange(const char* one, const char* other) {
  return ::renameat2(AT_FDCWD, one, AT_FDCWD, other, RENAME_EXCHANGE);
}

std::error_code FileOperations::remove_tree(const std::filesystem::path& path) {
  std::error_code error;
  std::filesystem::remove_all(path, error);
  return error;
}

FileOperations& FileOperations::system() {
  static FileOperations operations;
  return operations;
}

void throw_storage_error(const std::string& action, const std::filesystem::path& path,
                         int error_number) {
  throw ExitError(ExitCode::kStorage,
                  "cannot " + action + " " + path.string() + ": " + std::strerror(error_number));
}

OpenFile::OpenFile(FileOperations& operations, std::filesystem::path path, int flags)
    : operations_(&operations), path_(std::move(path)) {
  do {
    file_ = operations_->open(path_.c_str(), flags | O_CLOEXEC, 0666);
  } while (file_ < 0 && errno == EINTR);
  if (file_ < 0)
    throw_storage_error("open", path_, errno);
}

OpenFile::~OpenFile() {
  if (file_ >= 0)
    ::close(file_);
}

OpenFile::OpenFile(OpenFile&& other) noexcept
    : operations_(other.operations_), path_(std::move(other.path_)), file_(other.file_) {
  other.file_ = -1;
}

void OpenFile::allocate(int64_t num_bytes) {
  int status;
  do {
    status = operations_->allocate(file_, num_bytes);
  } while (status < 0 && errno == EINTR);
  if (status < 0) {
    throw_storage_error("reserve " + std::to_string(num_bytes) + " bytes for", path_, errno);
  }
}

void OpenFile::write(std::string_view bytes, int64_t offset) {
  while (!bytes.empty()) {
    const ssize_t written = operations_->pwrite(file_, bytes.data(), bytes.size(), offset);
    if (written < 0 && errno == EINTR)
      continue;
    if (written < 0)
      throw_storage_error("write", path_, errno);
    // A device that takes nothing and reports no error would otherwise keep us here for ever.
    if (written == 0)
      throw_storage_error("write", path_, ENOSPC);
    bytes.remove_prefix(written);
    offset += written;
  }
}

void OpenFile::read(void* data, int64_t num_bytes, int64_t offset) const {
  auto* out = static_cast<char*>(data);
  while (num_bytes > 0) {
    const ssize_t received = operations_->pread(file_, out, num_bytes, offset);
    if (received < 0 && errno == EINTR)
      continue;
    if (received < 0)
      throw_storage_error("read", path_, errno);
    if (received == 0) {
      throw ExitError(ExitCode::kStorage, path_.string() + " ends at byte " +
                                              std::to_string(offset) + ", " +
                                              std::to_string(num_bytes) + " more were expected");
    }
    out += received;
    offset += received;
    num_bytes -= received;
  }
}

void OpenFile::flush() {
  // Never tried again: after a failed fsync the kernel may drop the pages and report success.
  if (operations_->fsync(file_) < 0)
    throw_storage_error("fsync", path_, errno);
}

void OpenFile::drop_cache() const {
  ::posix_fadvise(file_, 0, 0, POSIX_FADV_DONTNEED);
}

int64_t OpenFile::num_bytes() const {
  struct stat status {};
  if (::fstat(file_, &status) < 0)
    throw_storage_error("stat", path_, errno);
  return status.st_size;
}

void write_text_file(FileOperations& operations, const std::filesystem::path& path,
                     std::string_view text) {
  OpenFile file(operations, path, O_WRONLY | O_CREAT | O_TRUNC);
  file.write(text, 0);
  file.flush();
}

void flush_folder(FileOperations& operations, const std::filesystem::path& path) {
  OpenFile(operations, path, O_RDONLY | O_DIRECTORY).flush();
}

OpenFile open_regular_file(const std::filesystem::path& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) < 0) {
    if (errno == ENOENT || errno == ENOTDIR) {
      throw ExitError(ExitCode::kNoInput, path.string() + " does not exist");
    }
    throw_storage_error("open", path, errno);
  }
  if (!S_ISREG(status.st_mode)) {
    throw ExitError(ExitCode::kBadFile, path.string() + " is not a regular file");
  }
  return OpenFile(FileOperations::system(), path, O_RDONLY | O_NONBLOCK);
}

std::string read_text_file(const std::filesystem::path& path, int64_t max_bytes) {
  const OpenFile file = open_regular_file(path);
  const int64_t num_bytes = file.num_bytes();
  if (num_bytes > max_bytes) {
    throw ExitError(ExitCode::kBadFile, path.string() + " has " + std::to_string(num_bytes) +
                                            " bytes, at most " + std::to_string(max_bytes) +
                                            " are allowed");
  }
  std::string text(num_bytes, '\0');
  file.read(text.data(), num_bytes, 0);
  return text;
}

std::string printable(std::string_view text) {
  std::string result = "'";
  for (const unsigned char character : text.substr(0, 80)) {
    if (character >= 0x20 && character < 0x7f) {
      result += static_cast<char>(character);
    } else {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\x%02x", character);
      result += escape;
    }
  }
  return result + (text.size() > 80 ? "...'" : "'");
}

FileSizeSignalGuard::FileSizeSignalGuard() {
  sigset_t signals;
  sigset_t before;
  sigemptyset(&signals);
  sigaddset(&signals, SIGXFSZ);
  pthread_sigmask(SIG_BLOCK, &signals, &before);
  was_blocked_ = sigismember(&before, SIGXFSZ) == 1;
}

FileSizeSignalGuard::~FileSizeSignalGuard() {
  if (was_blocked_)
    return;
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGXFSZ);
  const timespec no_wait{};
  while (sigtimedwait(&signals, nullptr, &no_wait) == SIGXFSZ) {
  }
  pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
}

}  // namespace moesaic::trainer
