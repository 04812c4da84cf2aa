#include "trainer/commands.h"
#include "trainer/exit_code.h"

namespace moesaic::trainer {

int parity_command(const ParityArguments&) {
  throw ExitError(ExitCode::kUsage, "the command 'parity' is not in this build");
}

}  // namespace moesaic::trainer
