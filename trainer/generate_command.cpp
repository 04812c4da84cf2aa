#include "trainer/commands.h"
#include "trainer/exit_code.h"

namespace moesaic::trainer {

int generate_command(const GenerateArguments&) {
  throw ExitError(ExitCode::kUsage, "the command 'generate' is not in this build");
}

}  // namespace moesaic::trainer
