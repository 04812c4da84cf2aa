#include "trainer/commands.h"
#include "trainer/exit_code.h"

namespace moesaic::trainer {

int eval_command(const EvalArguments&) {
  throw ExitError(ExitCode::kUsage, "the command 'eval' is not in this build");
}

}  // namespace moesaic::trainer
