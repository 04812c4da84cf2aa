#include "trainer/distributed_session.h"

#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <algorithm>
#include <thread>

#include "parallel/mpi_communicator.h"
#include "parallel/thread_communicator.h"
#include "trainer/exit_code.h"
#include "trainer/launch.h"

namespace moesaic::trainer {

DistributedSession::DistributedSession(const Config& config) : parallel_(config.parallel) {
  at::set_num_threads(num_threads(config.trainer));
  if (parallel::is_launched_by_mpi()) {
    mpi_ = std::make_unique<parallel::MpiSession>();
    parallel::CommunicationOptions options;
    options.timeout_s = parallel_.timeout_s;
    world_ = parallel::make_mpi_communicator(*mpi_, options);
  } else {
    world_ = parallel::make_single_communicator();
  }
  device_ = choose_device(config, world_->size());
}

parallel::DeviceMesh DistributedSession::make_mesh() const {
  const int64_t size = world_->size();
  const int64_t expert = parallel_.expert;
  if (size % expert != 0) {
    throw ExitError(
        ExitCode::kConfiguration,
        fmt::format("parallel.expert: {} does not divide the {} ranks of this job", expert, size));
  }
  return parallel::DeviceMesh::for_training(world_, /*pipeline=*/1, static_cast<int>(size / expert),
                                            static_cast<int>(expert));
}

int num_threads(const TrainerOptions& options) {
  if (options.threads) {
    return static_cast<int>(*options.threads);
  }
  const auto cores = static_cast<int64_t>(std::max(std::thread::hardware_concurrency(), 1U));
  return static_cast<int>(std::max<int64_t>(cores / launch_local_size(), 1));
}

}  // namespace moesaic::trainer
