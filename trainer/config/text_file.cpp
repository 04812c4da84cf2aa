#include "trainer/config/text_file.h"

#include "trainer/config/scalar.h"
#include "trainer/exit_code.h"

#include <fstream>

namespace moesaic::trainer {
namespace {

/// Length of the UTF-8 sequence at the head of `bytes`, or 0 (RFC 3629: no overlong forms, no
/// surrogates, nothing above U+10FFFF).
size_t utf8_length(std::string_view bytes) {
  auto byte = [&](size_t i) { return static_cast<unsigned char>(bytes[i]); };
  if (byte(0) < 0x80) {
    return 1;
  }
  size_t length = byte(0) >= 0xf0 ? 4 : byte(0) >= 0xe0 ? 3 : 2;
  if (byte(0) < 0xc2 || byte(0) > 0xf4 || bytes.size() < length) {
    return 0;
  }
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) {
      return 0;
    }
  }
  bool overlong = (byte(0) == 0xe0 && byte(1) < 0xa0) || (byte(0) == 0xf0 && byte(1) < 0x90);
  bool surrogate = byte(0) == 0xed && byte(1) > 0x9f;
  bool too_large = byte(0) == 0xf4 && byte(1) > 0x8f;
  return overlong || surrogate || too_large ? 0 : length;
}

}  // namespace

std::string text_error(std::string_view bytes) {
  int64_t line = 1;
  int64_t column = 1;
  auto at = [&] { return std::to_string(line) + ":" + std::to_string(column) + ": "; };
  while (!bytes.empty()) {
    size_t length = utf8_length(bytes);
    if (length == 0) {
      return at() + "is not UTF-8 text";
    }
    char letter = bytes.front();
    bool space = letter == '\n' || letter == '\t' || letter == '\r';
    if (length == 1 && ((letter >= 0 && letter < 0x20 && !space) || letter == 0x7f)) {
      return at() + "has a control character";
    }
    line += letter == '\n' ? 1 : 0;
    column = letter == '\n' ? 1 : column + static_cast<int64_t>(length);
    bytes.remove_prefix(length);
  }
  return "";
}

std::string read_text_file(const std::filesystem::path& path) {
  auto shown = shorten(path.string());
  std::error_code error;
  auto status = std::filesystem::status(path, error);
  if (!std::filesystem::exists(status)) {
    throw ExitError(
        ExitCode::kNoInput,
        shown + ": no such file" +
            (error && error.value() != ENOENT ? " (" + error.message() + ")" : std::string()));
  }
  if (!std::filesystem::is_regular_file(status)) {
    throw ExitError(ExitCode::kNoInput, shown + ": is not a regular file");
  }
  std::ifstream file(path, std::ios::binary);
  std::string bytes(kMaxConfigBytes + 1, '\0');
  file.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  if (!file.is_open() || file.bad()) {
    throw ExitError(ExitCode::kNoInput, shown + ": cannot be read");
  }
  bytes.resize(static_cast<size_t>(file.gcount()));
  if (bytes.size() > kMaxConfigBytes) {
    throw ExitError(ExitCode::kConfiguration, shown + ": is larger than 1 MiB");
  }
  if (auto reason = text_error(bytes); !reason.empty()) {
    throw ExitError(ExitCode::kConfiguration, shown + ":" + reason);
  }
  return bytes;
}

}  // namespace moesaic::trainer
