#include "trainer/bench/bench_commands.h"

#include <ATen/Parallel.h>

#include "parallel/thread_communicator.h"
#include "trainer/bench/bench_report.h"
#include "trainer/bench/step_case.h"
#include "trainer/config/read_config.h"
#include "trainer/device_choice.h"
#include "trainer/distributed_session.h"
#include "trainer/exit_code.h"
#include "trainer/launch.h"
#include "trainer/training_state.h"

namespace moesaic::trainer {
namespace {

void require_one_rank() {
  if (launch_world_size().value_or(1) > 1) {
    throw ExitError(ExitCode::kUsage,
                    "bench measures one rank: run it without mpirun, or with mpirun -n 1");
  }
}

/// bfloat16 products crawl on a CPU without instructions for them: a smaller one says the same.
int64_t product_size(const BenchDevice& device, at::ScalarType dtype) {
  return device.device().is_cpu() && dtype == at::kBFloat16 ? 256 : 2048;
}

/// Prints what was measured.
int report(BenchDevice& device, const std::vector<BenchCase>& cases, BenchSubject subject,
           at::ScalarType dtype, const BenchArguments& arguments) {
  subject.device = device.description();
  subject.dtype = dtype_name(dtype);
  subject.rounds = arguments.rounds;
  const auto results = run_bench(
      device, cases,
      {.rounds = arguments.rounds, .dtype = dtype, .product_size = product_size(device, dtype)});
  print_once(arguments.json ? bench_json(subject, results) : bench_table(subject, results));
  return static_cast<int>(ExitCode::kDone);
}

/// Shape, threads and device of `operators` and `layer`.
struct Setup {
  BenchShape shape;
  std::unique_ptr<BenchDevice> device;
};

Setup set_up(const BenchArguments& arguments) {
  require_one_rank();
  auto shape = arguments.shape;
  shape.dtype = dtype_of(arguments.dtype);
  check_shape(shape);
  const auto config =
      read_overrides(arguments.overrides, {"trainer.device", "trainer.threads", "kernels"});
  at::set_num_threads(num_threads(config.trainer));
  const auto choice = choose_device(config, /*world_size=*/1, shape.dtype);
  return {shape, make_bench_device(choice.device)};
}

nlohmann::ordered_json sizes_of(const BenchShape& shape) {
  return {{"tokens", shape.tokens},
          {"hidden_size", shape.hidden_size},
          {"experts", shape.num_experts},
          {"top_k", shape.top_k},
          {"intermediate_size", shape.intermediate_size}};
}

}  // namespace

int bench_operators_command(const BenchArguments& arguments) {
  const auto setup = set_up(arguments);
  auto sizes = sizes_of(setup.shape);
  sizes["vocab_size"] = setup.shape.vocab_size;
  return report(*setup.device, operator_cases(setup.shape, setup.device->device()),
                {.kind = "operators", .sizes = sizes}, setup.shape.dtype, arguments);
}

int bench_layer_command(const BenchArguments& arguments) {
  const auto setup = set_up(arguments);
  const auto layer = layer_case(setup.shape, /*norm_topk_prob=*/false, setup.device->device());
  return report(*setup.device, {layer}, {.kind = "layer", .sizes = sizes_of(setup.shape)},
                setup.shape.dtype, arguments);
}

int bench_step_command(const BenchArguments& arguments) {
  require_one_rank();
  const auto config = read_config(arguments.config, arguments.overrides, /*world_size=*/1);
  at::set_num_threads(num_threads(config.trainer));
  const auto device = make_bench_device(choose_device(config, /*world_size=*/1).device);
  const auto mesh =
      parallel::DeviceMesh::for_training(parallel::make_single_communicator(), 1, 1, 1);
  const auto& model = config.model.config;
  const nlohmann::ordered_json sizes = {{"name", config.name},
                                        {"layers", model.num_hidden_layers},
                                        {"hidden_size", model.hidden_size},
                                        {"experts", model.num_experts},
                                        {"top_k", model.num_experts_per_tok},
                                        {"intermediate_size", model.intermediate_size},
                                        {"vocab_size", model.vocab_size},
                                        {"sequence_length", config.data.sequence_length},
                                        {"micro_batch_size", config.data.micro_batch_size},
                                        {"global_batch_size", config.data.global_batch_size}};
  return report(*device, {step_case(config, mesh, device->device())},
                {.kind = "step", .sizes = sizes}, parameter_dtype(config), arguments);
}

}  // namespace moesaic::trainer
