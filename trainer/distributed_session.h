// The ranks of a command: MPI when a launcher started us, one rank alone otherwise.
#pragma once

#include <memory>

#include "parallel/communicator.h"
#include "parallel/device_mesh.h"
#include "parallel/mpi_session.h"
#include "trainer/config/config.h"
#include "trainer/device_choice.h"

namespace moesaic::trainer {

class DistributedSession {
 public:
  /// Sets threads, starts MPI if there is a launcher, then chooses the device (choose_device: may
  /// throw). Every rank of the job constructs it once. Throws CommunicationError.
  explicit DistributedSession(const Config& config);

  const parallel::CommunicatorPtr& world() const { return world_; }
  const DeviceChoice& device() const { return device_; }
  /// expert_data x expert ranks. Collective. Throws ExitError(kConfiguration) when parallel.expert
  /// does not divide the world.
  parallel::DeviceMesh make_mesh() const;

 private:
  parallel::ParallelOptions parallel_;
  std::unique_ptr<parallel::MpiSession> mpi_;  // null: one rank alone
  parallel::CommunicatorPtr world_;
  DeviceChoice device_;
};

/// Threads of a rank: trainer.threads, or this machine's cores divided among its ranks.
int num_threads(const TrainerOptions& options);

}  // namespace moesaic::trainer
