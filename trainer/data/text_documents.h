// Text files as documents, for `data prepare`.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace moesaic::trainer {

/// The files behind `inputs`: a file stands for itself, a folder for all .txt and .jsonl files in
/// it and below, in byte order of their paths, so that the result does not depend on the file
/// system. Throws ExitError(kNoInput) if an input is missing or a folder has no such file.
std::vector<std::string> find_text_files(const std::vector<std::string>& inputs);

/// Calls take(text) for every document of a file: each line's "text" of a .jsonl file (blank lines
/// are skipped), the whole contents of any other. Throws ExitError: kNoInput if it cannot be
/// opened, kBadFile with file and line if a line is not a JSON object with a string "text".
void for_each_document(const std::string& path, const std::function<void(std::string_view)>& take);

}  // namespace moesaic::trainer
