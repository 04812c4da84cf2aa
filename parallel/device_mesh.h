// The ranks of the world as a grid with named axes, and the communicators of its lines and planes.
//
// Axes are given outermost first; the innermost (last) axis has neighbouring world ranks:
// rank = ((c0 * size1) + c1) * size2 + c2 ...
#pragma once

#include <map>
#include <string>
#include <vector>

#include "parallel/communicator.h"

namespace moesaic::parallel {

struct MeshAxis {
  std::string name;
  int size = 1;
};

/// A name for several axes: {"data", {"expert_data", "expert"}}.
struct DerivedGroup {
  std::string name;
  std::vector<std::string> axes;
};

class DeviceMesh {
 public:
  /// Collective over `world`. Makes a communicator for each axis and each derived group. Throws
  /// std::invalid_argument when the sizes do not multiply to world->size(), or a name is unknown or
  /// used twice.
  DeviceMesh(CommunicatorPtr world, std::vector<MeshAxis> axes,
             std::vector<DerivedGroup> derived_groups);
  /// Axes pipeline, expert_data, expert (innermost); derived group data = expert_data x expert.
  static DeviceMesh for_training(CommunicatorPtr world, int pipeline, int expert_data, int expert);

  const CommunicatorPtr& world() const { return world_; }
  /// The ranks that differ from this one in the axis (or derived group) `name` only, ordered by
  /// these coordinates. Of size 1 where the axis is. Local.
  const CommunicatorPtr& group(const std::string& name) const;
  /// The same for any set of axes. Local if they are an axis or a derived group or have been asked
  /// for before, else collective over the world.
  const CommunicatorPtr& group(const std::vector<std::string>& axes);

  const std::vector<MeshAxis>& axes() const { return axes_; }
  int axis_size(const std::string& axis) const;
  /// Of this rank along the axis.
  int coordinate(const std::string& axis) const;
  /// World rank at these coordinates, one an axis, outermost first.
  int rank_at(const std::vector<int>& coordinates) const;

 private:
  using AxisSet = std::vector<bool>;
  size_t index_of(const std::string& axis) const;
  AxisSet set_of(const std::vector<std::string>& axes) const;
  const CommunicatorPtr& make_group(const AxisSet& set, const std::string& name);

  CommunicatorPtr world_;
  std::vector<MeshAxis> axes_;
  std::vector<int> coordinates_;
  std::map<std::string, AxisSet> sets_;
  std::map<AxisSet, CommunicatorPtr> groups_;
};

}  // namespace moesaic::parallel
