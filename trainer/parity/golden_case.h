// A golden folder: a tiny model and what an independent implementation computed with it.
// tests/golden/README.md defines the files.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include "moe/model/model_config.h"
#include "moe/moe_options.h"

namespace moesaic::trainer {

struct GoldenCase {
  moe::ModelConfig model;
  moe::MoeOptions moe;  ///< of moe.yaml; without one: dropless, formula hf, scope global
  /// Tensors by name. Any file or entry but the weights, input_ids and labels may be absent.
  std::map<std::string, at::Tensor> weights;
  std::map<std::string, at::Tensor> gradients;
  std::map<std::string, at::Tensor> final_weights;
  std::map<std::string, at::Tensor> reference;

  /// Null tensor when absent.
  at::Tensor find(const std::string& name) const;
};

/// Reads a folder. Throws ExitError: kNoInput or kBadFile (missing, malformed, or tensors that do
/// not fit the config), kConfiguration for a config that this build cannot run.
GoldenCase read_golden_case(const std::filesystem::path& folder);

/// labels [B, S], not yet shifted -> targets [B, S]: position s predicts the label of s + 1; the
/// last position has no target.
at::Tensor shifted_targets(const at::Tensor& labels_BS);

}  // namespace moesaic::trainer
