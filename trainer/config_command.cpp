// moesaic config: what a configuration amounts to, and what can stand in one.
#include "trainer/commands.h"
#include "trainer/config/read_config.h"
#include "trainer/exit_code.h"
#include "trainer/launch.h"

namespace moesaic::trainer {

int config_command(const ConfigArguments& arguments) {
  if (arguments.docs) {
    print_once(config_docs());
    return static_cast<int>(ExitCode::kDone);
  }
  if (!arguments.config) {
    throw ExitError(ExitCode::kUsage, "config needs a file (or --docs); see moesaic config --help");
  }
  auto config = read_config(*arguments.config, arguments.overrides, launch_world_size());
  print_once(resolved_yaml(config));
  return static_cast<int>(ExitCode::kDone);
}

}  // namespace moesaic::trainer
