// moesaic --version. version_generated.h is written at build time (trainer/version.cmake).
#include "trainer/commands.h"
#include "trainer/exit_code.h"
#include "trainer/launch.h"
#include "version_generated.h"

namespace moesaic::trainer {

int version_command() {
  print_once("moesaic " MOESAIC_VERSION " (git " MOESAIC_GIT_REVISION
             ")\nLibTorch " MOESAIC_TORCH_VERSION "\nMPI: " MOESAIC_MPI_VERSION "\n");
  return static_cast<int>(ExitCode::kDone);
}

}  // namespace moesaic::trainer
