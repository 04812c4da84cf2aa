// A data file opened for reading, and the errors that name file, byte and rule.
//
// Reads are preads into the caller's buffer: a file that shrinks while training runs is then an
// error with exit code 65, where a memory map would end the process with SIGBUS.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace moesaic::trainer {

/// Throws ExitError(kBadFile): "PATH: byte OFFSET: RULE, found VALUE".
[[noreturn]] void throw_bad_data(const std::string& path, int64_t offset, const std::string& rule,
                                 const std::string& value);

/// Thread-safe: reads carry their own offset.
class DataFile {
 public:
  /// Throws ExitError: kNoInput if the file is missing or not readable, kBadFile if it is not a
  /// regular file, kStorage otherwise.
  explicit DataFile(std::string path);
  ~DataFile();
  DataFile(const DataFile&) = delete;
  DataFile& operator=(const DataFile&) = delete;

  const std::string& path() const { return path_; }
  /// Bytes when the file was opened.
  int64_t size() const { return size_; }

  /// Fills `bytes` from `offset`. Throws ExitError: kBadFile if the file ends before, kStorage if
  /// the device fails.
  void read(int64_t offset, std::span<std::byte> bytes) const;

  /// The same for a span of numbers, little-endian as they lie in the file.
  template <typename Number>
  void read_numbers(int64_t offset, std::span<Number> numbers) const {
    read(offset, std::as_writable_bytes(numbers));
  }

 private:
  std::string path_;
  int descriptor_ = -1;
  int64_t size_ = 0;
};

}  // namespace moesaic::trainer
