// The system calls that a checkpoint is made of, behind a seam, so that every one of them can be
// made to fail (tests, debug.fault), and two small owners of an open file on top of it.
// Invariant: a call that fails becomes an ExitError that names the path and the errno text.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>

namespace moesaic::trainer {

/// The calls themselves: -1 and errno on failure, as the manual pages say. Thread-safe.
class FileOperations {
 public:
  virtual ~FileOperations() = default;
  virtual int open(const char* path, int flags, mode_t mode);
  virtual ssize_t pwrite(int file, const void* data, size_t num_bytes, int64_t offset);
  virtual ssize_t pread(int file, void* data, size_t num_bytes, int64_t offset);
  /// Reserves space, so that a full disk shows before the writing starts. Succeeds where the file
  /// system cannot reserve.
  virtual int allocate(int file, int64_t num_bytes);
  virtual int fsync(int file);
  virtual int mkdir(const char* path);
  virtual int rename(const char* from, const char* to);
  /// Swaps two names in one atomic step; EINVAL or ENOSYS where the file system cannot (NFS).
  virtual int exchange(const char* one, const char* other);
  virtual std::error_code remove_tree(const std::filesystem::path& path);

  /// The plain system calls.
  static FileOperations& system();
};

/// ExitError(kStorage) "cannot <action> <path>: <text of error_number>".
[[noreturn]] void throw_storage_error(const std::string& action, const std::filesystem::path& path,
                                      int error_number);

/// An open file: closed on destruction.
class OpenFile {
 public:
  /// Throws ExitError(kStorage).
  OpenFile(FileOperations& operations, std::filesystem::path path, int flags);
  ~OpenFile();
  OpenFile(OpenFile&& other) noexcept;
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;
  OpenFile& operator=(OpenFile&&) = delete;

  void allocate(int64_t num_bytes);
  /// Writes all of it, however many calls that takes.
  void write(std::string_view bytes, int64_t offset);
  /// Reads all of it; a file that ends early is an ExitError(kStorage).
  void read(void* data, int64_t num_bytes, int64_t offset) const;
  void flush();
  /// Asks the kernel to forget its cached pages, so that a read comes from the device.
  void drop_cache() const;
  int64_t num_bytes() const;
  const std::filesystem::path& path() const { return path_; }

 private:
  FileOperations* operations_;
  std::filesystem::path path_;
  int file_;
};

/// Creates or replaces a small file and flushes it.
void write_text_file(FileOperations& operations, const std::filesystem::path& path,
                     std::string_view text);
/// Makes the names inside a folder durable.
void flush_folder(FileOperations& operations, const std::filesystem::path& path);
/// The whole of a small regular file. Throws ExitError: kNoInput when it is not there, kBadFile
/// when it is no regular file or larger than `max_bytes`, kStorage when it cannot be read.
std::string read_text_file(const std::filesystem::path& path, int64_t max_bytes);
/// Opens for reading. As read_text_file, and never waits for a FIFO.
OpenFile open_regular_file(const std::filesystem::path& path);

/// Text from a file made safe for a terminal: quoted, control characters escaped, cut at 80.
std::string printable(std::string_view text);

/// While it lives, exceeding RLIMIT_FSIZE is an error of write() (EFBIG) in this thread and not a
/// deadly signal.
class FileSizeSignalGuard {
 public:
  FileSizeSignalGuard();
  ~FileSizeSignalGuard();
  FileSizeSignalGuard(const FileSizeSignalGuard&) = delete;
  FileSizeSignalGuard& operator=(const FileSizeSignalGuard&) = delete;

 private:
  bool was_blocked_;
};

}  // namespace moesaic::trainer
