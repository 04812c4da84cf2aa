#include "parallel/device_mesh.h"

namespace moesaic::parallel {

DeviceMesh::DeviceMesh(CommunicatorPtr world, std::vector<MeshAxis> axes,
                       std::vector<DerivedGroup> derived_groups)
    : world_(std::move(world)), axes_(std::move(axes)), coordinates_(axes_.size()) {
  int64_t product = 1;
  std::string sizes;
  for (const MeshAxis& axis : axes_) {
    if (axis.size < 1) {
      throw std::invalid_argument("mesh axis '" + axis.name + "' must have a size >= 1, got " +
                                  std::to_string(axis.size));
    }
    product *= axis.size;
    sizes += (sizes.empty() ? "" : " x ") + axis.name + " " + std::to_string(axis.size);
  }
  if (product != world_->size()) {
    throw std::invalid_argument("the mesh " + sizes + " has " + std::to_string(product) +
                                " places, the world " + std::to_string(world_->size()) + " ranks");
  }
  int remainder = world_->rank();
  for (size_t i = axes_.size(); i-- > 0;) {
    coordinates_[i] = remainder % axes_[i].size;
    remainder /= axes_[i].size;
  }
  for (const MeshAxis& axis : axes_) {
    derived_groups.insert(derived_groups.begin(), DerivedGroup{axis.name, {axis.name}});
  }
  for (const DerivedGroup& derived : derived_groups) {
    const AxisSet set = set_of(derived.axes);
    if (!sets_.emplace(derived.name, set).second) {
      throw std::invalid_argument("mesh group '" + derived.name + "' is declared twice");
    }
    make_group(set, derived.name);
  }
}

DeviceMesh DeviceMesh::for_training(CommunicatorPtr world, int pipeline, int expert_data,
                                    int expert) {
  return DeviceMesh(std::move(world),
                    {{"pipeline", pipeline}, {"expert_data", expert_data}, {"expert", expert}},
                    {{"data", {"expert_data", "expert"}}});
}

size_t DeviceMesh::index_of(const std::string& axis) const {
  for (size_t i = 0; i < axes_.size(); ++i) {
    if (axes_[i].name == axis) {
      return i;
    }
  }
  throw std::invalid_argument("the mesh has no axis '" + axis + "'");
}

DeviceMesh::AxisSet DeviceMesh::set_of(const std::vector<std::string>& axes) const {
  AxisSet set(axes_.size(), false);
  for (const std::string& axis : axes) {
    set[index_of(axis)] = true;
  }
  return set;
}

const CommunicatorPtr& DeviceMesh::make_group(const AxisSet& set, const std::string& name) {
  const auto found = groups_.find(set);
  if (found != groups_.end()) {
    return found->second;
  }
  int color = 0;  // position along the axes that stay fixed
  int key = 0;    // position along the axes of the set
  for (size_t i = 0; i < axes_.size(); ++i) {
    int& position = set[i] ? key : color;
    position = position * axes_[i].size + coordinates_[i];
  }
  return groups_.emplace(set, world_->split(color, key, name)).first->second;
}

const CommunicatorPtr& DeviceMesh::group(const std::string& name) const {
  const auto set = sets_.find(name);
  if (set == sets_.end()) {
    throw std::invalid_argument("the mesh has no axis or group '" + name + "'");
  }
  return groups_.at(set->second);
}

const CommunicatorPtr& DeviceMesh::group(const std::vector<std::string>& axes) {
  std::string name;
  for (const std::string& axis : axes) {
    name += (name.empty() ? "" : "*") + axis;
  }
  return make_group(set_of(axes), name);
}

int DeviceMesh::axis_size(const std::string& axis) const {
  return axes_[index_of(axis)].size;
}

int DeviceMesh::coordinate(const std::string& axis) const {
  return coordinates_[index_of(axis)];
}

int DeviceMesh::rank_at(const std::vector<int>& coordinates) const {
  if (coordinates.size() != axes_.size()) {
    throw std::invalid_argument("rank_at needs " + std::to_string(axes_.size()) +
                                " coordinates, got " + std::to_string(coordinates.size()));
  }
  int rank = 0;
  for (size_t i = 0; i < axes_.size(); ++i) {
    if (coordinates[i] < 0 || coordinates[i] >= axes_[i].size) {
      throw std::invalid_argument("coordinate " + std::to_string(coordinates[i]) + " of axis '" +
                                  axes_[i].name + "' is not in [0, " +
                                  std::to_string(axes_[i].size) + ")");
    }
    rank = rank * axes_[i].size + coordinates[i];
  }
  return rank;
}

}  // namespace moesaic::parallel
