// Where parameters and main gradients live: flat buffers, one for each (dtype, replication) group.
//
// Reduction, norm, optimiser and checkpoint work on the flat buffers. The entries are the one table
// that says for each parameter which mesh axes replicate it; everybody reads that table.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "parallel/device_mesh.h"

namespace moesaic::parallel {

/// What a module says of one of its parameters before the store has given it memory.
struct ParameterSpec {
  std::string name;            ///< unique, e.g. "layers.0.mlp.experts.down_proj"
  std::vector<int64_t> shape;  ///< on this rank
  /// Mesh group whose ranks hold the same values, e.g. "data" or "expert_data".
  std::string replicated_over;
  /// Mesh group whose ranks hold the other parts, e.g. "expert"; empty when the parameter is whole.
  std::string sharded_over;
  /// The module's member: the store assigns the view of the flat buffer, requires_grad set.
  at::Tensor* tensor = nullptr;
};

/// One row of the ownership table.
struct ParameterEntry {
  ParameterSpec spec;
  int64_t group_idx = 0;  ///< which flat buffer
  int64_t offset = 0;     ///< first element in the flat buffer
  int64_t numel = 0;
};

/// Parameters that the same ranks replicate.
struct ParameterGroup {
  std::string replicated_over;  ///< as in ParameterSpec
  std::string sharded_over;     ///< as in ParameterSpec
  CommunicatorPtr replicas;     ///< ranks that hold the same values; gradients are summed over them
  CommunicatorPtr shards;       ///< ranks that hold the other parts; null when parameters are whole
  at::Tensor values;            ///< flat [n], aligned entry by entry
  at::Tensor gradients;         ///< flat [n], max(float32, dtype): the main gradients
};

class ParameterStore {
 public:
  /// Allocates the flat buffers (zeros) and assigns every spec's tensor and its `.grad`, a view
  /// that autograd accumulates into. Order of the entries is the order of the specs. Local.
  ParameterStore(const DeviceMesh& mesh, std::vector<ParameterSpec> specs, at::ScalarType dtype,
                 at::Device device = at::kCPU);

  const std::vector<ParameterEntry>& entries() const { return entries_; }
  std::vector<ParameterGroup>& groups() { return groups_; }
  const std::vector<ParameterGroup>& groups() const { return groups_; }
  const ParameterEntry& entry(const std::string& name) const;

  /// The flat piece of `buffers[group]` that belongs to an entry, e.g. of a moment buffer.
  at::Tensor slice(const at::Tensor& flat, const ParameterEntry& entry) const;

  /// Sets all main gradients to zero. Every parameter has a gradient at every step.
  void zero_gradients();
  int64_t num_local_elements() const;
  int64_t parameter_bytes() const;

 private:
  int64_t find_or_add_group(const DeviceMesh& mesh, const ParameterSpec& spec);

  std::vector<ParameterEntry> entries_;
  std::vector<ParameterGroup> groups_;
};

}  // namespace moesaic::parallel
