// The OLMoE family (2409.02060; Hugging Face model_type "olmoe"): which modules, which tensor
// names.
#pragma once

#include <memory>
#include <vector>

#include "moe/model/language_model.h"

namespace moesaic::moe {

/// Builds the model of this rank: experts are split over the mesh axis "expert". Collective over
/// the mesh. Weights are drawn from `build.seed`; the same in every layout.
std::unique_ptr<LanguageModel> build_olmoe(const ModelConfig& config, const ModelBuild& build);

/// Every tensor of a checkpoint of this model, from the config alone, in the order of the model.
std::vector<HubTensor> olmoe_hub_tensors(const ModelConfig& config);

/// Parameters of the whole model, and those that one token uses.
struct ParameterCount {
  int64_t total = 0;
  int64_t active = 0;
};
ParameterCount count_olmoe_parameters(const ModelConfig& config);

}  // namespace moesaic::moe
