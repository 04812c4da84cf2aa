#include "trainer/kernel_log.h"

#include <fmt/format.h>

#include "kernels/backend.h"
#include "trainer/exit_code.h"
#include "trainer/launch.h"

namespace moesaic::trainer {

void check_kernel_log(bool wanted) {
  if (wanted && !kernels::cuda_kernel_launches()) {
    throw ExitError(ExitCode::kUsage,
                    "--kernel-log: this build has no CUDA kernels; those of the presets cuda and "
                    "cuda-emulated have");
  }
}

void print_kernel_log(bool wanted) {
  if (!wanted) {
    return;
  }
  std::string text = "kernel launches of rank 0:\n";
  const auto launches = kernels::cuda_kernel_launches();
  for (const auto& [kernel, num_launches] : *launches) {
    text += fmt::format("  {:<36} {:>9}\n", kernel, num_launches);
  }
  print_once(text);
}

}  // namespace moesaic::trainer
