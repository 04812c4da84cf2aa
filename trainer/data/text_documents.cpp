#include "trainer/data/text_documents.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "trainer/config/scalar.h"
#include "trainer/data/data_file.h"
#include "trainer/exit_code.h"

namespace moesaic::trainer {

namespace {

namespace fs = std::filesystem;

bool is_json_lines(const std::string& path) {
  return path.ends_with(".jsonl");
}

std::vector<std::string> files_below(const std::string& folder) {
  std::vector<std::string> files;
  std::error_code error;
  for (fs::recursive_directory_iterator entry(folder, error), end; entry != end && !error;
       entry.increment(error)) {
    const auto path = entry->path().string();
    if (std::error_code ignored;
        entry->is_regular_file(ignored) && (path.ends_with(".txt") || is_json_lines(path))) {
      files.push_back(path);
    }
  }
  if (error) {
    throw ExitError(ExitCode::kNoInput, folder + ": cannot be read: " + error.message());
  }
  if (files.empty()) {
    throw ExitError(ExitCode::kNoInput, folder + ": no .txt or .jsonl file in this folder");
  }
  std::sort(files.begin(), files.end());
  return files;
}

// The document of a line; throws for anything but an object with a string "text".
std::string document_of_line(const std::string& line, const std::string& where) {
  try {
    const auto json = nlohmann::json::parse(line);
    return json.at("text").get<std::string>();
  } catch (const nlohmann::json::exception& error) {
    throw ExitError(
        ExitCode::kBadFile,
        where + ": a line must be a JSON object with a string \"text\": " + shorten(error.what()));
  }
}

void for_each_json_line(const std::string& path,
                        const std::function<void(std::string_view)>& take) {
  const DataFile regular(path);  // or one clear message
  std::ifstream file(path, std::ios::binary);
  std::string line;
  for (int64_t number = 1; std::getline(file, line); ++number) {
    if (line.find_first_not_of(" \t\r") != std::string::npos) {
      take(document_of_line(line, path + ":" + std::to_string(number)));
    }
  }
  if (file.bad()) {
    throw ExitError(ExitCode::kStorage, path + ": cannot be read");
  }
}

}  // namespace

std::vector<std::string> find_text_files(const std::vector<std::string>& inputs) {
  std::vector<std::string> files;
  for (const auto& input : inputs) {
    std::error_code error;
    const auto status = fs::status(input, error);
    if (!fs::exists(status)) {
      throw ExitError(ExitCode::kNoInput, input + ": no such file or folder");
    }
    const auto found =
        fs::is_directory(status) ? files_below(input) : std::vector<std::string>{input};
    files.insert(files.end(), found.begin(), found.end());
  }
  return files;
}

void for_each_document(const std::string& path, const std::function<void(std::string_view)>& take) {
  if (is_json_lines(path)) {
    for_each_json_line(path, take);
    return;
  }
  const DataFile file(path);
  std::string text(static_cast<size_t>(file.size()), '\0');
  file.read_numbers(0, std::span(text.data(), text.size()));
  take(text);
}

}  // namespace moesaic::trainer
