// Which tensor lies in which file at which offset. The plan depends on the tensors of the model
// alone, never on the ranks, so the files are byte-identical in every layout.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "trainer/checkpoint/safetensors.h"

namespace moesaic::trainer {

inline constexpr int64_t kDefaultMaxFileBytes = int64_t{4} << 30;

/// A tensor as the checkpoint knows it, whoever holds its bytes.
struct LogicalTensor {
  std::string name;
  TensorType type;
  std::vector<int64_t> shape;
};

struct PlannedFile {
  std::string name;
  std::string header;                      ///< the first bytes of the file
  std::vector<SafetensorsTensor> tensors;  ///< in the order of their bytes
  int64_t num_bytes;                       ///< of the whole file
};

/// Where the bytes of one tensor are.
struct PlannedTensor {
  size_t file_idx;
  size_t tensor_idx;  ///< in PlannedFile::tensors
};

class CheckpointPlan {
 public:
  /// `weights` have hub names; `optimizer_state` are exp_avg.<name>, exp_avg_sq.<name> and other
  /// state. The order given does not matter: tensors are laid out by descending alignment, then by
  /// name, and a file is closed when the next tensor would make it larger than `max_file_bytes`
  /// (a larger tensor gets a file of its own). Throws ExitError(kInternal) for two tensors of one
  /// name, and as build_safetensors_header does.
  CheckpointPlan(const std::vector<LogicalTensor>& weights,
                 const std::vector<LogicalTensor>& optimizer_state,
                 int64_t max_file_bytes = kDefaultMaxFileBytes);

  /// Weight files first: model.safetensors, or model-00001-of-00004.safetensors ... when there are
  /// several; then optimizer.safetensors or optimizer-00001-of-00004.safetensors ...
  const std::vector<PlannedFile>& files() const { return files_; }
  /// nullptr when there is no such tensor.
  const PlannedTensor* find(const std::string& name) const;
  /// The text of model.safetensors.index.json. It is written for a single file too: vLLM would
  /// otherwise take every *.safetensors of the folder for weights.
  std::string weights_index() const;

 private:
  void add_files(const std::string& stem, const std::vector<LogicalTensor>& tensors,
                 int64_t max_file_bytes);

  std::vector<PlannedFile> files_;
  size_t num_weight_files_ = 0;
  std::unordered_map<std::string, PlannedTensor> places_;
};

}  // namespace moesaic::trainer
