// moesaic eval: cross-entropy of a checkpoint on token files, in nats a token.
#include <fmt/format.h>

#include <cmath>

#include "trainer/commands.h"
#include "trainer/config/read_config.h"
#include "trainer/data/token_windows.h"
#include "trainer/data/validation_batches.h"
#include "trainer/distributed_session.h"
#include "trainer/evaluation.h"
#include "trainer/exit_code.h"
#include "trainer/kernel_log.h"
#include "trainer/launch.h"
#include "trainer/model_checkpoint.h"

namespace moesaic::trainer {
namespace {

// Without gradients memory is no concern; wide batches keep the experts' products large.
constexpr int64_t kDefaultSequences = 8;

}  // namespace

int eval_command(const EvalArguments& arguments) {
  check_kernel_log(arguments.kernel_log);
  const auto config = read_overrides(
      arguments.overrides,
      {"parallel", "trainer.device", "trainer.threads", "trainer.precision",
       "data.micro_batch_size", "data.sequence_length", "kernels", "debug.force_balance"});
  const DistributedSession session(config);
  report_device(session.device());
  const auto mesh = session.make_mesh();
  const auto loaded = load_model(arguments.folder, config, mesh, session.device().device);

  const auto& model = loaded->config();
  const auto& data = mesh.group("data");
  const int64_t sequence_length = config.origins.contains("data.sequence_length")
                                      ? config.data.sequence_length
                                      : model.max_position_embeddings;
  if (sequence_length > model.max_position_embeddings) {
    throw ExitError(ExitCode::kConfiguration,
                    fmt::format("data.sequence_length: {} is more than the model's "
                                "max_position_embeddings, {}",
                                sequence_length, model.max_position_embeddings));
  }
  const auto windows = std::make_shared<TokenWindows>(std::vector<std::string>{arguments.data},
                                                      sequence_length, model.vocab_size);
  const int64_t micro_batch_size = config.origins.contains("data.micro_batch_size")
                                       ? config.data.micro_batch_size
                                       : kDefaultSequences;
  const ValidationBatches batches(windows, micro_batch_size, data->rank(), data->size());
  const auto result = evaluate(*loaded, mesh, batches);
  print_once(fmt::format("cross_entropy: {:.9f} tokens: {}\n", result.loss, result.num_targets));
  print_kernel_log(arguments.kernel_log);
  if (!std::isfinite(result.loss)) {
    throw ExitError(ExitCode::kInternal, arguments.folder.string() + ": not finite");
  }
  return static_cast<int>(ExitCode::kDone);
}

}  // namespace moesaic::trainer
