#include "trainer/checkpoint/checkpoint_plan.h"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "trainer/exit_code.h"

namespace moesaic::trainer {
namespace {

std::vector<SafetensorsTensor> in_file_order(const std::vector<LogicalTensor>& tensors) {
  std::vector<SafetensorsTensor> ordered;
  ordered.reserve(tensors.size());
  for (const auto& tensor : tensors) {
    ordered.push_back({tensor.name, tensor.type, tensor.shape, 0,
                       tensor_num_bytes(tensor.name, tensor.type, tensor.shape)});
  }
  // Wide types first, so that every tensor is aligned to its type without padding.
  std::sort(ordered.begin(), ordered.end(), [](const auto& a, const auto& b) {
    const int64_t a_bits = tensor_type_bits(a.type);
    const int64_t b_bits = tensor_type_bits(b.type);
    return a_bits != b_bits ? a_bits > b_bits : a.name < b.name;
  });
  return ordered;
}

std::vector<PlannedFile> cut(std::vector<SafetensorsTensor> tensors, int64_t max_file_bytes) {
  std::vector<PlannedFile> files;
  int64_t num_bytes = 0;
  for (auto& tensor : tensors) {
    if (files.empty() || num_bytes + tensor.num_bytes > max_file_bytes) {
      files.emplace_back();
      num_bytes = 0;
    }
    num_bytes += tensor.num_bytes;
    files.back().tensors.push_back(std::move(tensor));
  }
  return files;
}

std::string file_name(const std::string& stem, size_t number, size_t num_files) {
  if (num_files == 1)
    return stem + ".safetensors";
  char suffix[64];
  std::snprintf(suffix, sizeof suffix, "-%05zu-of-%05zu.safetensors", number, num_files);
  return stem + suffix;
}

}  // namespace

CheckpointPlan::CheckpointPlan(const std::vector<LogicalTensor>& weights,
                               const std::vector<LogicalTensor>& optimizer_state,
                               int64_t max_file_bytes) {
  add_files("model", weights, max_file_bytes);
  num_weight_files_ = files_.size();
  add_files("optimizer", optimizer_state, max_file_bytes);
}

void CheckpointPlan::add_files(const std::string& stem, const std::vector<LogicalTensor>& tensors,
                               int64_t max_file_bytes) {
  auto files = cut(in_file_order(tensors), max_file_bytes);
  for (size_t number = 0; number < files.size(); ++number) {
    auto& file = files[number];
    file.name = file_name(stem, number + 1, files.size());
    file.header = build_safetensors_header(file.tensors);
    const auto& last = file.tensors.back();
    file.num_bytes = last.begin + last.num_bytes;
    for (size_t tensor_idx = 0; tensor_idx < file.tensors.size(); ++tensor_idx) {
      const auto& name = file.tensors[tensor_idx].name;
      if (!places_.emplace(name, PlannedTensor{files_.size(), tensor_idx}).second) {
        throw ExitError(ExitCode::kInternal, "checkpoint: two tensors are named " + name);
      }
    }
    files_.push_back(std::move(file));
  }
}

const PlannedTensor* CheckpointPlan::find(const std::string& name) const {
  const auto found = places_.find(name);
  return found == places_.end() ? nullptr : &found->second;
}

std::string CheckpointPlan::weights_index() const {
  int64_t total_size = 0;
  auto weight_map = nlohmann::json::object();
  for (size_t file_idx = 0; file_idx < num_weight_files_; ++file_idx) {
    for (const auto& tensor : files_[file_idx].tensors) {
      weight_map[tensor.name] = files_[file_idx].name;
      total_size += tensor.num_bytes;
    }
  }
  const nlohmann::json index = {{"metadata", {{"total_size", total_size}}},
                                {"weight_map", std::move(weight_map)}};
  return index.dump(2) + "\n";
}

}  // namespace moesaic::trainer
