#include "trainer/checkpoint/checkpoint_folder.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <random>

#include "trainer/checkpoint/file_operations.h"

namespace moesaic::trainer {
namespace {

constexpr std::string_view kStepPrefix = "step-";

// Every name in a folder; none when the folder is not there.
std::vector<std::filesystem::path> list_names(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> paths;
  std::error_code error;
  for (std::filesystem::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    paths.push_back(entry->path());
  }
  if (error && error.value() != ENOENT)
    throw_storage_error("list", folder, error.value());
  std::sort(paths.begin(), paths.end());
  return paths;
}

}  // namespace

std::string step_folder_name(int64_t step) {
  char name[32];
  std::snprintf(name, sizeof name, "step-%06lld", static_cast<long long>(step));
  return name;
}

std::optional<int64_t> parse_step_folder_name(std::string_view name) {
  if (!name.starts_with(kStepPrefix))
    return std::nullopt;
  const auto digits = name.substr(kStepPrefix.size());
  int64_t step = -1;
  const auto result = std::from_chars(digits.data(), digits.data() + digits.size(), step);
  if (result.ec != std::errc() || step < 0 || step_folder_name(step) != name)
    return std::nullopt;
  return step;
}

std::vector<CheckpointFolder> list_checkpoint_folders(const std::filesystem::path& checkpoints) {
  std::vector<CheckpointFolder> folders;
  for (const auto& path : list_names(checkpoints)) {
    const auto step = parse_step_folder_name(path.filename().string());
    if (step)
      folders.push_back({*step, path});
  }
  std::sort(folders.begin(), folders.end(),
            [](const auto& a, const auto& b) { return a.step < b.step; });
  return folders;
}

std::vector<std::filesystem::path> list_leftovers(const std::filesystem::path& checkpoints) {
  std::vector<std::filesystem::path> leftovers;
  for (const auto& path : list_names(checkpoints)) {
    const std::string name = path.filename().string();
    const bool is_temporary = (name.starts_with(kStepPrefix) || name.starts_with("latest.")) &&
                              name.find(".tmp-") != std::string::npos;
    if (is_temporary || name.starts_with(".trash-"))
      leftovers.push_back(path);
  }
  return leftovers;
}

std::string make_run_id() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(now).count();
  char id[64];
  std::snprintf(id, sizeof id, "%llx-%d-%08x", static_cast<unsigned long long>(seconds),
                static_cast<int>(getpid()), std::random_device()());
  return id;
}

}  // namespace moesaic::trainer
