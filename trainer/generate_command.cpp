// moesaic generate: text from a checkpoint, with the built-in byte tokenizer.
#include <fmt/format.h>

#include "trainer/commands.h"
#include "trainer/config/read_config.h"
#include "trainer/data/byte_tokenizer.h"
#include "trainer/distributed_session.h"
#include "trainer/exit_code.h"
#include "trainer/generation.h"
#include "trainer/kernel_log.h"
#include "trainer/launch.h"
#include "trainer/model_checkpoint.h"

namespace moesaic::trainer {

int generate_command(const GenerateArguments& arguments) {
  check_kernel_log(arguments.kernel_log);
  const auto config =
      read_overrides(arguments.overrides, {"parallel", "trainer.device", "trainer.threads",
                                           "trainer.precision", "kernels", "debug.force_balance"});
  const DistributedSession session(config);
  report_device(session.device());
  const auto mesh = session.make_mesh();
  const auto model = load_model(arguments.folder, config, mesh, session.device().device);
  if (model->config().vocab_size < kByteVocabSize ||
      !speaks_bytes(model->config(), arguments.folder)) {
    throw ExitError(ExitCode::kBadFile,
                    fmt::format("{}: generate speaks the built-in byte tokens only, and the "
                                "tokenizer of this model is another one",
                                arguments.folder.string()));
  }
  auto prompt = encode_bytes(arguments.prompt);
  if (prompt.empty()) {
    prompt.push_back(kByteEndToken);  // the beginning of a document
  }
  const auto tokens = generate(*model, prompt,
                               {.max_new_tokens = arguments.max_new_tokens,
                                .temperature = arguments.temperature,
                                .top_k = arguments.top_k,
                                .seed = static_cast<uint64_t>(arguments.seed)});
  print_once(arguments.prompt + decode_bytes(tokens) + "\n");
  print_kernel_log(arguments.kernel_log);
  return static_cast<int>(ExitCode::kDone);
}

}  // namespace moesaic::trainer
