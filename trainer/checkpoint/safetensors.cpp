#include "trainer/checkpoint/safetensors.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

#include "trainer/checkpoint/safetensors_header.h"
#include "trainer/exit_code.h"

namespace moesaic::trainer {
namespace {

static_assert(std::endian::native == std::endian::little, "safetensors files are little-endian");

constexpr int64_t kLengthBytes = 8;

[[noreturn]] void refuse(const std::string& label, const std::string& problem) {
  throw ExitError(ExitCode::kBadFile, label + " is not a valid safetensors file: " + problem);
}

void check_header_length(uint64_t header_num_bytes, int64_t file_num_bytes,
                         const std::string& label) {
  const std::string claim = "its header claims " + std::to_string(header_num_bytes) + " bytes";
  if (header_num_bytes > static_cast<uint64_t>(kMaxSafetensorsHeaderBytes)) {
    refuse(label,
           claim + ", at most " + std::to_string(kMaxSafetensorsHeaderBytes) + " are allowed");
  }
  if (static_cast<int64_t>(header_num_bytes) > file_num_bytes - kLengthBytes) {
    refuse(label, claim + ", the file has " + std::to_string(file_num_bytes));
  }
  if (header_num_bytes % 8 != 0)
    refuse(label, claim + ", which is not a multiple of 8");
}

// Checked product, from the left, as the reference multiplies.
int64_t checked_num_bytes(const HeaderEntry& entry, const std::string& label) {
  uint64_t num_bits = 1;
  bool overflow = false;
  for (const uint64_t dim : entry.shape) {
    overflow = overflow || dim > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()) ||
               __builtin_mul_overflow(num_bits, dim, &num_bits);
  }
  overflow = overflow || __builtin_mul_overflow(num_bits, tensor_type_bits(entry.type), &num_bits);
  if (overflow) {
    refuse(label, "tensor " + printable(entry.name) + ": the product of its shape overflows");
  }
  if (num_bits % 8 != 0) {
    refuse(label, "tensor " + printable(entry.name) + ": " + std::to_string(num_bits) +
                      " bits are not a whole number of bytes");
  }
  return static_cast<int64_t>(num_bits / 8);
}

void check_names_are_unique(const std::vector<HeaderEntry>& entries, const std::string& label) {
  std::vector<const std::string*> names;
  names.reserve(entries.size());
  for (const auto& entry : entries)
    names.push_back(&entry.name);
  std::sort(names.begin(), names.end(), [](auto* a, auto* b) { return *a < *b; });
  const auto twice =
      std::adjacent_find(names.begin(), names.end(), [](auto* a, auto* b) { return *a == *b; });
  if (twice != names.end())
    refuse(label, "tensor " + printable(**twice) + " appears twice");
}

std::vector<HeaderEntry> parse_entries(std::string_view header, const std::string& label) {
  // nlohmann-json skips a byte order mark and takes a NUL for the end of the text.
  if (header.find('\0') != std::string_view::npos)
    refuse(label, "its header holds a NUL byte");
  if (header.starts_with("\xef\xbb\xbf"))
    refuse(label, "its header starts with a byte order mark");
  HeaderHandler handler;
  if (!nlohmann::json::sax_parse(header.begin(), header.end(), &handler)) {
    refuse(label, handler.problem());
  }
  check_names_are_unique(handler.entries(), label);
  return std::move(handler.entries());
}

uint8_t alignment_of(TensorType type) {
  return static_cast<uint8_t>(std::max<int64_t>(tensor_type_bits(type) / 8, 1));
}

void append_entry(std::string& text, const SafetensorsTensor& tensor, int64_t begin) {
  text += ",\"" + tensor.name + "\":{\"dtype\":\"";
  text += tensor_type_name(tensor.type);
  text += "\",\"shape\":[";
  for (size_t dim = 0; dim < tensor.shape.size(); ++dim) {
    if (dim > 0)
      text += ',';
    text += std::to_string(tensor.shape[dim]);
  }
  text += "],\"data_offsets\":[" + std::to_string(begin) + "," +
          std::to_string(begin + tensor.num_bytes) + "]}";
}

}  // namespace

int64_t SafetensorsTensor::num_elements() const {
  int64_t product = 1;
  for (const int64_t dim : shape)
    product *= dim;
  return product;
}

bool is_tensor_name(std::string_view name) {
  if (name.empty() || name.size() > 512 || name.find("..") != std::string_view::npos)
    return false;
  return std::all_of(name.begin(), name.end(), [](unsigned char character) {
    return (character >= 'a' && character <= 'z') || (character >= 'A' && character <= 'Z') ||
           (character >= '0' && character <= '9') || character == '_' || character == '.' ||
           character == '-' || character == '/';
  });
}

int64_t tensor_num_bytes(std::string_view name, TensorType type,
                         const std::vector<int64_t>& shape) {
  HeaderEntry entry{std::string(name), type, {}, {}};
  // A negative dimension becomes a huge one here, and is refused as such.
  for (const int64_t dim : shape)
    entry.shape.push_back(static_cast<uint64_t>(dim));
  return checked_num_bytes(entry, "the list of tensors");
}

std::vector<SafetensorsTensor> parse_safetensors_header(std::string_view header,
                                                        int64_t file_num_bytes,
                                                        const std::string& label) {
  auto entries = parse_entries(header, label);
  std::sort(entries.begin(), entries.end(),
            [](const auto& a, const auto& b) { return a.offsets < b.offsets; });
  const auto data_begin = kLengthBytes + static_cast<int64_t>(header.size());
  const auto data_num_bytes = static_cast<uint64_t>(file_num_bytes - data_begin);
  uint64_t end_of_last = 0;
  std::vector<SafetensorsTensor> tensors;
  tensors.reserve(entries.size());
  for (auto& entry : entries) {
    const uint64_t begin = entry.offsets[0];
    const uint64_t end = entry.offsets[1];
    const std::string span = "tensor " + printable(entry.name) + ": data_offsets [" +
                             std::to_string(begin) + ", " + std::to_string(end) + "] ";
    if (begin != end_of_last) {
      refuse(label,
             span + "must begin where the previous tensor ends, at " + std::to_string(end_of_last));
    }
    if (end < begin)
      refuse(label, span + "end before they begin");
    if (end > data_num_bytes) {
      refuse(label, span + "go beyond the " + std::to_string(data_num_bytes) + " bytes of data");
    }
    const int64_t num_bytes = checked_num_bytes(entry, label);
    if (static_cast<uint64_t>(num_bytes) != end - begin) {
      refuse(label, span + "do not hold the " + std::to_string(num_bytes) +
                        " bytes of its dtype and shape");
    }
    end_of_last = end;
    tensors.push_back({std::move(entry.name), entry.type,
                       std::vector<int64_t>(entry.shape.begin(), entry.shape.end()),
                       data_begin + static_cast<int64_t>(begin), num_bytes});
  }
  if (end_of_last != data_num_bytes) {
    refuse(label, "its tensors end at byte " + std::to_string(end_of_last) +
                      " of the data, which has " + std::to_string(data_num_bytes) + " bytes");
  }
  return tensors;
}

std::string build_safetensors_header(std::vector<SafetensorsTensor>& tensors) {
  std::string text = R"({"__metadata__":{"format":"pt"})";
  int64_t begin = 0;
  for (auto& tensor : tensors) {
    if (!is_tensor_name(tensor.name) || tensor.shape.size() > kMaxSafetensorsDims) {
      throw ExitError(ExitCode::kInternal, "no safetensors file can hold a tensor named " +
                                               printable(tensor.name) + " with " +
                                               std::to_string(tensor.shape.size()) + " dimensions");
    }
    tensor.num_bytes = tensor_num_bytes(tensor.name, tensor.type, tensor.shape);
    if (begin % alignment_of(tensor.type) != 0) {
      throw ExitError(ExitCode::kInternal, "tensor " + tensor.name + " would not be aligned");
    }
    append_entry(text, tensor, begin);
    begin += tensor.num_bytes;
  }
  text += '}';
  text.append((8 - text.size() % 8) % 8, ' ');
  if (text.size() > static_cast<size_t>(kMaxSafetensorsHeaderBytes)) {
    throw ExitError(ExitCode::kInternal, "a safetensors header of " + std::to_string(text.size()) +
                                             " bytes is too large: use smaller files");
  }
  begin = kLengthBytes + static_cast<int64_t>(text.size());
  for (auto& tensor : tensors) {
    tensor.begin = begin;
    begin += tensor.num_bytes;
  }
  const uint64_t length = text.size();
  std::string bytes(sizeof length, '\0');
  std::memcpy(bytes.data(), &length, sizeof length);
  return bytes + text;
}

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path)
    : file_(open_regular_file(path)), num_bytes_(file_.num_bytes()) {
  const std::string label = path.string();
  if (num_bytes_ < kLengthBytes) {
    refuse(label, "it has " + std::to_string(num_bytes_) + " bytes, 8 are the least");
  }
  uint64_t header_num_bytes = 0;
  file_.read(&header_num_bytes, kLengthBytes, 0);
  check_header_length(header_num_bytes, num_bytes_, label);
  std::string header(header_num_bytes, '\0');
  file_.read(header.data(), static_cast<int64_t>(header_num_bytes), kLengthBytes);
  tensors_ = parse_safetensors_header(header, num_bytes_, label);
}

void SafetensorsFile::read(const SafetensorsTensor& tensor, int64_t offset, void* data,
                           int64_t num_bytes) const {
  if (offset < 0 || num_bytes < 0 || offset > tensor.num_bytes - num_bytes) {
    throw ExitError(ExitCode::kInternal, "bytes [" + std::to_string(offset) + ", +" +
                                             std::to_string(num_bytes) + ") are not inside " +
                                             tensor.name + ", which has " +
                                             std::to_string(tensor.num_bytes));
  }
  file_.read(data, num_bytes, tensor.begin + offset);
}

}  // namespace moesaic::trainer
