// moesaic train: builds the job and hands over to the Trainer; --dry-run only does the sums.
#include <fmt/format.h>

#include <csignal>

#include "moe/experts.h"
#include "moe/model/families/olmoe.h"
#include "parallel/mpi_session.h"
#include "trainer/commands.h"
#include "trainer/config/read_config.h"
#include "trainer/distributed_session.h"
#include "trainer/exit_code.h"
#include "trainer/kernel_log.h"
#include "trainer/launch.h"
#include "trainer/stop_signal.h"
#include "trainer/trainer.h"

namespace moesaic::trainer {
namespace {

// Weights, gradients and both moments of the rank that owns the most experts.
int64_t state_bytes_per_rank(const Config& config, int64_t element_bytes) {
  const auto& model = config.model.config;
  const int64_t expert = 3 * model.hidden_size * model.intermediate_size;
  const auto total = moe::count_olmoe_parameters(model).total;
  const int64_t dense = total - model.num_hidden_layers * model.num_experts * expert;
  int64_t most_experts = 0;
  for (int64_t rank = 0; rank < config.parallel.expert; ++rank) {
    most_experts = std::max(
        most_experts, moe::expert_range(rank, config.parallel.expert, model.num_experts).size());
  }
  return 4 * element_bytes * (dense + model.num_hidden_layers * most_experts * expert);
}

std::string dry_run_report(const Config& config, int64_t world_size) {
  const auto parameters = moe::count_olmoe_parameters(config.model.config);
  const int64_t element_bytes =
      config.trainer.precision.parameter == ParameterType::kFloat64 ? 8 : 4;
  const int64_t step_tokens = config.data.global_batch_size * config.data.sequence_length;
  const int64_t accumulation =
      config.data.global_batch_size / (config.data.micro_batch_size * world_size);
  return fmt::format(
      "parameters total: {}\nparameters active: {}\nranks: {} ({} expert x {} expert_data)\n"
      "bytes per rank (weights, gradients, moments): {}\nsteps: {}\n"
      "micro-batches per rank and step: {}\ntokens per step: {}\ntokens in all: {}\n",
      parameters.total, parameters.active, world_size, config.parallel.expert,
      world_size / config.parallel.expert, state_bytes_per_rank(config, element_bytes),
      config.trainer.max_steps, accumulation, step_tokens, step_tokens * config.trainer.max_steps);
}

int dry_run(const TrainArguments& arguments) {
  auto world_size = launch_world_size();
  if (!world_size) {
    // A cluster's configuration, looked at elsewhere: the smallest job that it describes.
    world_size = read_config(arguments.config, arguments.overrides, std::nullopt).parallel.expert;
  }
  const auto config = read_config(arguments.config, arguments.overrides, world_size);
  print_once(dry_run_report(config, *world_size));
  return static_cast<int>(ExitCode::kDone);
}

}  // namespace

int train_command(const TrainArguments& arguments) {
  check_kernel_log(arguments.kernel_log);
  if (arguments.dry_run) {
    return dry_run(arguments);
  }
  // Some launchers tell their size only through MPI: those rules wait until it has started.
  auto world_size = launch_world_size();
  if (!world_size && !parallel::is_launched_by_mpi()) {
    world_size = 1;
  }
  const auto config = read_config(arguments.config, arguments.overrides, world_size);
  install_stop_signal_handlers();  // before MPI_Init
  std::signal(SIGPIPE, SIG_IGN);   // a console that was closed must not end a training
  const DistributedSession session(config);
  check_config(config, session.world()->size());
  const auto mesh = session.make_mesh();
  Trainer trainer(config, mesh, session.device(), arguments.allow_config_change);
  const auto code = trainer.run();
  print_kernel_log(arguments.kernel_log);
  return static_cast<int>(code);
}

}  // namespace moesaic::trainer
