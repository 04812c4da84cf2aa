#include "trainer/commands.h"
#include "trainer/exit_code.h"

namespace moesaic::trainer {

int train_command(const TrainArguments&) {
  throw ExitError(ExitCode::kUsage, "the command 'train' is not in this build");
}

}  // namespace moesaic::trainer
