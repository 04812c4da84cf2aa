// Reads a configuration file as text, with every check that comes before parsing.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace moesaic::trainer {

inline constexpr size_t kMaxConfigBytes = 1 << 20;

/// The bytes of a small text file. Throws ExitError: kNoInput if it is not there, no regular file
/// or not readable; kConfiguration if it is larger than 1 MiB or no UTF-8 text.
std::string read_text_file(const std::filesystem::path& path);

/// Empty, or why these bytes are no UTF-8 text without control characters, with line and column.
std::string text_error(std::string_view bytes);

}  // namespace moesaic::trainer
