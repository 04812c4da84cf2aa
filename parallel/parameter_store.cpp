#include "parallel/parameter_store.h"

#include <ATen/Functions.h>

#include <stdexcept>

namespace moesaic::parallel {
namespace {

// Entries start on a cache line, so that a view is as good as an allocation of its own.
constexpr int64_t kAlignmentBytes = 64;

}  // namespace

ParameterStore::ParameterStore(const DeviceMesh& mesh, std::vector<ParameterSpec> specs,
                               at::ScalarType dtype, at::Device device) {
  const int64_t alignment = kAlignmentBytes / static_cast<int64_t>(c10::elementSize(dtype));
  std::vector<int64_t> group_numel;
  for (auto& spec : specs) {
    const int64_t group_idx = find_or_add_group(mesh, spec);
    group_numel.resize(groups_.size(), 0);
    int64_t numel = 1;
    for (const int64_t size : spec.shape) {
      numel *= size;
    }
    const int64_t offset = group_numel[group_idx];
    group_numel[group_idx] = (offset + numel + alignment - 1) / alignment * alignment;
    entries_.push_back({std::move(spec), group_idx, offset, numel});
  }
  const auto gradient_dtype = dtype == at::kDouble ? at::kDouble : at::kFloat;
  for (size_t i = 0; i < groups_.size(); ++i) {
    groups_[i].values = at::zeros({group_numel[i]}, at::dtype(dtype).device(device));
    groups_[i].gradients = at::zeros({group_numel[i]}, at::dtype(gradient_dtype).device(device));
  }
  for (const auto& entry : entries_) {
    auto& group = groups_[entry.group_idx];
    at::Tensor view = slice(group.values, entry).detach();
    view.set_requires_grad(true);
    view.mutable_grad() = slice(group.gradients, entry);
    *entry.spec.tensor = view;
  }
}

int64_t ParameterStore::find_or_add_group(const DeviceMesh& mesh, const ParameterSpec& spec) {
  for (size_t i = 0; i < groups_.size(); ++i) {
    if (groups_[i].replicated_over == spec.replicated_over &&
        groups_[i].sharded_over == spec.sharded_over) {
      return static_cast<int64_t>(i);
    }
  }
  ParameterGroup group;
  group.replicated_over = spec.replicated_over;
  group.sharded_over = spec.sharded_over;
  group.replicas = mesh.group(spec.replicated_over);
  if (!spec.sharded_over.empty()) {
    group.shards = mesh.group(spec.sharded_over);
  }
  groups_.push_back(std::move(group));
  return static_cast<int64_t>(groups_.size()) - 1;
}

const ParameterEntry& ParameterStore::entry(const std::string& name) const {
  for (const auto& entry : entries_) {
    if (entry.spec.name == name) {
      return entry;
    }
  }
  throw std::out_of_range("parameter store: no parameter is called " + name);
}

at::Tensor ParameterStore::slice(const at::Tensor& flat, const ParameterEntry& entry) const {
  return flat.narrow(0, entry.offset, entry.numel).view(entry.spec.shape);
}

void ParameterStore::zero_gradients() {
  for (auto& group : groups_) {
    group.gradients.zero_();
  }
}

int64_t ParameterStore::num_local_elements() const {
  int64_t total = 0;
  for (const auto& entry : entries_) {
    total += entry.numel;
  }
  return total;
}

int64_t ParameterStore::parameter_bytes() const {
  int64_t total = 0;
  for (const auto& entry : entries_) {
    total += entry.numel * entry.spec.tensor->element_size();
  }
  return total;
}

}  // namespace moesaic::parallel
