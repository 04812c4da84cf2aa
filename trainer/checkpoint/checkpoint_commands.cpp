#include "trainer/checkpoint/checkpoint_commands.h"

#include <cinttypes>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "trainer/checkpoint/checkpoint_folder.h"
#include "trainer/checkpoint/checkpoint_reader.h"
#include "trainer/checkpoint/tensor_folder.h"
#include "trainer/exit_code.h"

namespace moesaic::trainer {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMaxTrainerStateBytes = int64_t{64} << 20;

enum class Kind { kFile, kCheckpoint, kWeights, kRun };

fs::path checkpoints_of(const fs::path& path) {
  return fs::is_directory(path / "checkpoints") ? path / "checkpoints" : path;
}

Kind kind_of(const fs::path& path) {
  if (!fs::exists(path)) {
    throw ExitError(ExitCode::kNoInput, path.string() + " does not exist");
  }
  if (!fs::is_directory(path))
    return Kind::kFile;
  // A trailing slash leaves no file name behind.
  const auto name = (path.filename().empty() ? path.parent_path() : path).filename().string();
  if (fs::exists(path / kManifestName) || parse_step_folder_name(name))
    return Kind::kCheckpoint;
  if (fs::exists(path / "model.safetensors") || fs::exists(path / "model.safetensors.index.json")) {
    return Kind::kWeights;
  }
  if (!list_checkpoint_folders(checkpoints_of(path)).empty())
    return Kind::kRun;
  throw ExitError(ExitCode::kNoInput,
                  path.string() +
                      " is no checkpoint (manifest.json), no Hugging Face folder "
                      "(model.safetensors or its index) and no run with checkpoints");
}

// trainer.json belongs to the trainer; what is not there is shown as "-".
std::string tokens_of(const fs::path& folder) {
  try {
    const auto text = read_text_file(folder / "trainer.json", kMaxTrainerStateBytes);
    const auto json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
    if (json.is_object() && json.contains("tokens") && json["tokens"].is_number_unsigned()) {
      return std::to_string(json["tokens"].get<uint64_t>());
    }
  } catch (const ExitError&) {
  }
  return "-";
}

void print_row(const CheckpointFolder& folder) {
  std::string num_bytes = "-";
  std::string hash = "-";
  std::string verdict = "valid";
  try {
    const auto manifest = read_manifest(folder.path);
    num_bytes = std::to_string(manifest.num_bytes());
    hash = manifest.tensors.hex();
    validate_checkpoint(folder.path);
  } catch (const ExitError& error) {
    verdict = std::string("INVALID: ") + error.what();
  }
  std::printf("%10" PRId64 " %16s %16s  %-32s  %s\n", folder.step, tokens_of(folder.path).c_str(),
              num_bytes.c_str(), hash.c_str(), verdict.c_str());
}

TensorFolder open_tensors(const fs::path& path, Kind kind) {
  if (kind == Kind::kFile)
    return TensorFolder::open_file(path);
  return kind == Kind::kCheckpoint ? TensorFolder::open_checkpoint(path)
                                   : TensorFolder::open_weights(path);
}

void print_sizes(const TensorFolder& tensors) {
  int64_t num_parameters = 0;
  int64_t num_bytes = 0;
  for (const auto& file : tensors.files()) {
    num_bytes += file.num_bytes();
    if (!is_weights_file(file.path()))
      continue;
    for (const auto& tensor : file.tensors())
      num_parameters += tensor.num_elements();
  }
  std::printf("files: %zu\n", tensors.files().size());
  std::printf("tensors: %zu\n", tensors.places().size());
  std::printf("parameters: %" PRId64 "\n", num_parameters);
  std::printf("bytes: %" PRId64 "\n", num_bytes);
}

void check_one(const fs::path& path, Kind kind) {
  if (kind == Kind::kCheckpoint) {
    const auto manifest = validate_checkpoint(path);
    std::printf("%s: valid, %zu files, %" PRId64 " bytes\n", path.c_str(), manifest.files.size(),
                manifest.num_bytes());
    return;
  }
  const auto tensors = open_tensors(path, kind);
  // Without a manifest the contents can only be seen to be readable.
  tensors.hash();
  std::printf("%s: well-formed, %zu files, %zu tensors (no manifest: contents not verified)\n",
              path.c_str(), tensors.files().size(), tensors.places().size());
}

}  // namespace

int checkpoint_list_command(const fs::path& path) {
  if (!fs::is_directory(path)) {
    throw ExitError(ExitCode::kNoInput, path.string() + " is not a folder");
  }
  const auto folders = list_checkpoint_folders(checkpoints_of(path));
  if (folders.empty()) {
    throw ExitError(ExitCode::kNoInput, "there are no checkpoints in " + path.string());
  }
  std::printf("%10s %16s %16s  %-32s  %s\n", "step", "tokens", "bytes", "hash", "state");
  for (const auto& folder : folders)
    print_row(folder);
  return static_cast<int>(ExitCode::kDone);
}

int checkpoint_info_command(const fs::path& path) {
  const Kind kind = kind_of(path);
  if (kind == Kind::kRun) {
    throw ExitError(ExitCode::kUsage, path.string() +
                                          " is a run: name one of its checkpoints, "
                                          "or use `checkpoint list`");
  }
  const auto tensors = open_tensors(path, kind);
  std::printf("path: %s\n", path.c_str());
  if (kind == Kind::kCheckpoint) {
    std::printf("step: %" PRId64 "\n", read_manifest(path).step);
    std::printf("tokens: %s\n", tokens_of(path).c_str());
  }
  print_sizes(tensors);
  std::printf("hash: %s\n", tensors.hash().hex().c_str());
  return static_cast<int>(ExitCode::kDone);
}

int checkpoint_check_command(const fs::path& path) {
  const Kind kind = kind_of(path);
  if (kind != Kind::kRun) {
    check_one(path, kind);
    return static_cast<int>(ExitCode::kDone);
  }
  for (const auto& folder : list_checkpoint_folders(checkpoints_of(path))) {
    check_one(folder.path, Kind::kCheckpoint);
  }
  return static_cast<int>(ExitCode::kDone);
}

}  // namespace moesaic::trainer
