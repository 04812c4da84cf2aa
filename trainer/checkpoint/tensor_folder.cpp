#include "trainer/checkpoint/tensor_folder.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "trainer/exit_code.h"

namespace moesaic::trainer {
namespace {

constexpr int64_t kMaxIndexBytes = int64_t{256} << 20;
constexpr int64_t kReadBytes = int64_t{4} << 20;
constexpr int kMaxIndexDepth = 64;

[[noreturn]] void refuse_index(const std::filesystem::path& path, const std::string& problem) {
  throw ExitError(ExitCode::kBadFile, path.string() + " is not a valid index: " + problem);
}

// name -> file, as the index says.
std::map<std::string, std::string> read_weight_map(const std::filesystem::path& path) {
  const std::string text = read_text_file(path, kMaxIndexBytes);
  const auto json = nlohmann::json::parse(
      text,
      [&](int depth, nlohmann::json::parse_event_t, nlohmann::json&) {
        if (depth > kMaxIndexDepth)
          refuse_index(path, "it is nested too deeply");
        return true;
      },
      /*allow_exceptions=*/false);
  if (!json.is_object() || !json.contains("weight_map") || !json["weight_map"].is_object()) {
    refuse_index(path, "it has no object weight_map");
  }
  std::map<std::string, std::string> weight_map;
  for (const auto& [name, file] : json["weight_map"].items()) {
    if (!file.is_string() || !is_plain_file_name(file.get<std::string>())) {
      refuse_index(path, "the file of " + printable(name) + " is not a plain file name");
    }
    weight_map[name] = file.get<std::string>();
  }
  return weight_map;
}

}  // namespace

TensorFolder TensorFolder::open_checkpoint(const std::filesystem::path& folder) {
  TensorFolder tensors;
  for (const auto& [name, file] : read_manifest(folder).files) {
    if (name.ends_with(".safetensors"))
      tensors.add_file(folder / name);
  }
  return tensors;
}

TensorFolder TensorFolder::open_weights(const std::filesystem::path& folder) {
  TensorFolder tensors;
  if (std::filesystem::exists(folder / "model.safetensors")) {
    tensors.add_file(folder / "model.safetensors");
  } else if (std::filesystem::exists(folder / "model.safetensors.index.json")) {
    tensors.add_indexed_files(folder);
  } else {
    throw ExitError(
        ExitCode::kNoInput,
        folder.string() + " holds neither model.safetensors nor model.safetensors.index.json");
  }
  return tensors;
}

TensorFolder TensorFolder::open_file(const std::filesystem::path& path) {
  TensorFolder tensors;
  tensors.add_file(path);
  return tensors;
}

void TensorFolder::add_file(const std::filesystem::path& path) {
  files_.emplace_back(path);
  const auto& tensors = files_.back().tensors();
  for (size_t tensor_idx = 0; tensor_idx < tensors.size(); ++tensor_idx) {
    const auto [place, is_new] =
        places_.emplace(tensors[tensor_idx].name, Place{files_.size() - 1, tensor_idx});
    if (!is_new) {
      throw ExitError(ExitCode::kBadFile, path.string() + ": tensor " + place->first +
                                              " is also in " +
                                              files_[place->second.file_idx].path().string());
    }
  }
}

void TensorFolder::add_indexed_files(const std::filesystem::path& folder) {
  const auto index = folder / "model.safetensors.index.json";
  const auto weight_map = read_weight_map(index);
  std::set<std::string> names;
  for (const auto& [tensor, file] : weight_map)
    names.insert(file);
  for (const auto& name : names) {
    if (!std::filesystem::exists(folder / name)) {
      refuse_index(index, "it lists " + printable(name) + ", which is not in the folder");
    }
    add_file(folder / name);
  }
  for (const auto& [tensor, file] : weight_map) {
    const auto place = places_.find(tensor);
    if (place == places_.end() || files_[place->second.file_idx].path().filename() != file) {
      refuse_index(index, "tensor " + printable(tensor) + " is not in " + printable(file));
    }
  }
  for (const auto& [tensor, place] : places_) {
    if (!weight_map.contains(tensor)) {
      refuse_index(index, "it does not list tensor " + printable(tensor) + " of " +
                              files_[place.file_idx].path().filename().string());
    }
  }
}

const SafetensorsTensor* TensorFolder::find(const std::string& name) const {
  const auto place = places_.find(name);
  if (place == places_.end())
    return nullptr;
  return &files_[place->second.file_idx].tensors()[place->second.tensor_idx];
}

void TensorFolder::read(const std::string& name, int64_t offset, void* data,
                        int64_t num_bytes) const {
  const auto place = places_.find(name);
  if (place == places_.end()) {
    throw ExitError(ExitCode::kBadFile,
                    "there is no tensor " + printable(name) +
                        (files_.empty() ? "" : " in " + files_[0].path().parent_path().string()));
  }
  const auto& file = files_[place->second.file_idx];
  file.read(file.tensors()[place->second.tensor_idx], offset, data, num_bytes);
}

Hash128 TensorFolder::hash() const {
  std::vector<TensorDigest> digests;
  std::string buffer(kReadBytes, '\0');
  for (const auto& file : files_) {
    for (const auto& tensor : file.tensors()) {
      StreamHash hash;
      for (int64_t offset = 0; offset < tensor.num_bytes; offset += kReadBytes) {
        const int64_t length = std::min(kReadBytes, tensor.num_bytes - offset);
        file.read(tensor, offset, buffer.data(), length);
        hash.update(buffer.data(), length);
      }
      digests.push_back({tensor.name, tensor.type, tensor.shape, hash.digest()});
    }
  }
  return hash_tensors(std::move(digests));
}

bool is_weights_file(const std::filesystem::path& path) {
  const std::string name = path.filename().string();
  return name.ends_with(".safetensors") && !name.starts_with("optimizer.") &&
         !name.starts_with("optimizer-");
}

}  // namespace moesaic::trainer
