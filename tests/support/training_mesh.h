// The mesh of ranks that are threads, as training has it.
#pragma once

#include "parallel/device_mesh.h"
#include "parallel/thread_communicator.h"

namespace moesaic::tests {

/// `expert` ranks share the experts; the rest of the world is expert_data. Collective.
inline parallel::DeviceMesh make_mesh(parallel::CommunicatorPtr world, int expert) {
  const int expert_data = world->size() / expert;
  return parallel::DeviceMesh::for_training(std::move(world), /*pipeline=*/1, expert_data, expert);
}

/// One rank alone.
inline parallel::DeviceMesh make_single_mesh() {
  return make_mesh(parallel::make_single_communicator(), 1);
}

}  // namespace moesaic::tests
