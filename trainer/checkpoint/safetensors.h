// The safetensors format, read strictly and written deterministically.
//
// A file is: u64 little-endian N, a JSON header of N bytes, the tensors' bytes without a gap. The
// reader gives the verdict of the reference implementation (safetensors 0.8.0) or a stricter one:
// README.md lists the rules. Invariant: nothing that a header claims is trusted before it was
// checked against the size of the file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "trainer/checkpoint/file_operations.h"
#include "trainer/checkpoint/tensor_type.h"

namespace moesaic::trainer {

inline constexpr int64_t kMaxSafetensorsHeaderBytes = 100'000'000;
inline constexpr int64_t kMaxSafetensorsTensors = 1'000'000;
inline constexpr size_t kMaxSafetensorsDims = 8;

/// One entry of a header. `begin` counts from the start of the file.
struct SafetensorsTensor {
  std::string name;
  TensorType type;
  std::vector<int64_t> shape;
  int64_t begin;
  int64_t num_bytes;

  int64_t num_elements() const;
};

/// True for [A-Za-z0-9_.\-/]{1,512} without "..".
bool is_tensor_name(std::string_view name);

/// product(shape) in bytes. Throws ExitError(kBadFile) naming `name` when it overflows or is not a
/// whole number of bytes.
int64_t tensor_num_bytes(std::string_view name, TensorType type, const std::vector<int64_t>& shape);

/// The entries of a header, ordered by position. `header` is the JSON text without its length;
/// `file_num_bytes` the size of the whole file; `label` names the file in messages.
/// Throws ExitError(kBadFile) naming the file and the broken rule. Cost: memory in proportion to
/// the header.
std::vector<SafetensorsTensor> parse_safetensors_header(std::string_view header,
                                                        int64_t file_num_bytes,
                                                        const std::string& label);

/// The first bytes of a file, length included, for tensors that follow each other in the order
/// given; fills in each `begin` and `num_bytes`. The same input gives the same bytes. The length is
/// a multiple of 8. Throws ExitError(kInternal) for what the reader would refuse.
std::string build_safetensors_header(std::vector<SafetensorsTensor>& tensors);

/// A file open for reading. Reading is by pread: a file that shrinks is an error, not a signal.
class SafetensorsFile {
 public:
  /// Throws ExitError: kNoInput, kBadFile or kStorage.
  explicit SafetensorsFile(const std::filesystem::path& path);

  /// In the order of their bytes.
  const std::vector<SafetensorsTensor>& tensors() const { return tensors_; }
  const std::filesystem::path& path() const { return file_.path(); }
  int64_t num_bytes() const { return num_bytes_; }

  /// Copies bytes [offset, offset + num_bytes) of a tensor of this file.
  void read(const SafetensorsTensor& tensor, int64_t offset, void* data, int64_t num_bytes) const;

 private:
  OpenFile file_;
  int64_t num_bytes_;
  std::vector<SafetensorsTensor> tensors_;
};

}  // namespace moesaic::trainer
