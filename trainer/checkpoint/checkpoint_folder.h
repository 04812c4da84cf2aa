// The names inside checkpoints/: step-000100, step-000100.tmp-<run id>, .trash-..., latest.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace moesaic::trainer {

struct CheckpointFolder {
  int64_t step;
  std::filesystem::path path;
};

/// "step-000100".
std::string step_folder_name(int64_t step);
/// The step of a name that step_folder_name makes; empty for any other.
std::optional<int64_t> parse_step_folder_name(std::string_view name);

/// The step folders inside `checkpoints`, by ascending step, valid or not. Empty when there is no
/// such folder. Throws ExitError(kStorage) when it cannot be read.
std::vector<CheckpointFolder> list_checkpoint_folders(const std::filesystem::path& checkpoints);

/// What dead runs left behind: temporary and trash folders, temporary `latest` files.
std::vector<std::filesystem::path> list_leftovers(const std::filesystem::path& checkpoints);

/// Unlike any other run's on any host: time, process and random digits.
std::string make_run_id();

}  // namespace moesaic::trainer
