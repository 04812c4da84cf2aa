#include "trainer/commands.h"
#include "trainer/exit_code.h"

namespace moesaic::trainer {

int checkpoint_list_command(const std::filesystem::path&) {
  throw ExitError(ExitCode::kUsage, "the command 'checkpoint list' is not in this build");
}

int checkpoint_info_command(const std::filesystem::path&) {
  throw ExitError(ExitCode::kUsage, "the command 'checkpoint info' is not in this build");
}

int checkpoint_check_command(const std::filesystem::path&) {
  throw ExitError(ExitCode::kUsage, "the command 'checkpoint check' is not in this build");
}

}  // namespace moesaic::trainer
