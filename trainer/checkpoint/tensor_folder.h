// The tensors of several safetensors files under one roof: a checkpoint, a Hugging Face folder, or
// one file. Invariant: every name once; what an index or a manifest lists is what is there.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "trainer/checkpoint/content_hash.h"
#include "trainer/checkpoint/manifest.h"
#include "trainer/checkpoint/safetensors.h"

namespace moesaic::trainer {

class TensorFolder {
 public:
  struct Place {
    size_t file_idx;
    size_t tensor_idx;
  };

  /// A step folder: the *.safetensors files that its manifest lists, weights and optimizer state.
  /// Reads the headers, not the contents (validate_checkpoint does).
  /// Throws ExitError: kStorage for the manifest, kBadFile for a file.
  static TensorFolder open_checkpoint(const std::filesystem::path& folder);
  /// A Hugging Face folder (or a step folder, of which the weights are taken): model.safetensors,
  /// or what model.safetensors.index.json lists. Throws ExitError: kNoInput, kBadFile or kStorage.
  static TensorFolder open_weights(const std::filesystem::path& folder);
  static TensorFolder open_file(const std::filesystem::path& path);

  /// Every tensor by name.
  const std::map<std::string, Place>& places() const { return places_; }
  const std::vector<SafetensorsFile>& files() const { return files_; }
  /// nullptr when there is no such tensor.
  const SafetensorsTensor* find(const std::string& name) const;
  /// Copies bytes [offset, offset + num_bytes) of a tensor. Throws ExitError.
  void read(const std::string& name, int64_t offset, void* data, int64_t num_bytes) const;

  /// Over all tensors; see hash_tensors. Cost: reads every byte.
  Hash128 hash() const;

 private:
  void add_file(const std::filesystem::path& path);
  void add_indexed_files(const std::filesystem::path& folder);

  std::vector<SafetensorsFile> files_;
  std::map<std::string, Place> places_;
};

/// True for *.safetensors whose tensors are weights and not optimizer state.
bool is_weights_file(const std::filesystem::path& path);

}  // namespace moesaic::trainer
