// How modules declare their parameters: names, shapes and initial values now, memory later (from
// the parameter store). A declared parameter lists the tensors of a Hugging Face checkpoint inside
// it.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "parallel/parameter_store.h"

namespace moesaic::moe {

/// A whole tensor of a Hugging Face checkpoint, known from the model alone.
struct HubTensor {
  std::string name;            ///< "model.layers.0.mlp.experts.5.gate_proj.weight"
  std::vector<int64_t> shape;  ///< of the whole tensor
};

/// A contiguous run of elements that a local parameter and a hub tensor share.
struct HubSlice {
  HubTensor tensor;
  int64_t tensor_offset = 0;     ///< first element in the hub tensor
  int64_t parameter_offset = 0;  ///< first element in the local parameter
  int64_t numel = 0;
};

enum class Initialization { kTruncatedNormal, kOnes };

/// A parameter of this rank.
struct DeclaredParameter {
  parallel::ParameterSpec spec;
  Initialization initialization = Initialization::kTruncatedNormal;
  std::vector<HubSlice> slices;
};

/// A parameter that is exactly one hub tensor, replicated on all data ranks.
inline DeclaredParameter whole_parameter(
    std::string name, std::vector<int64_t> shape, std::string hub_name, at::Tensor* tensor,
    Initialization initialization = Initialization::kTruncatedNormal) {
  int64_t numel = 1;
  for (const int64_t size : shape) {
    numel *= size;
  }
  DeclaredParameter parameter;
  parameter.slices = {{{std::move(hub_name), shape}, 0, 0, numel}};
  parameter.spec = {std::move(name), std::move(shape), "data", /*sharded_over=*/"", tensor};
  parameter.initialization = initialization;
  return parameter;
}

}  // namespace moesaic::moe
