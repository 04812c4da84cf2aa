#include "trainer/launch.h"

#include <cstdlib>
#include <initializer_list>
#include <iostream>

#include "trainer/config/scalar.h"
#include "trainer/exit_code.h"

namespace moesaic::trainer {
namespace {

/// The first of these variables that is set. mpirun sets Open MPI's, srun sets Slurm's.
std::optional<int64_t> first_set(std::initializer_list<const char*> names) {
  for (const char* name : names) {
    const char* text = std::getenv(name);
    int64_t value = 0;
    if (text != nullptr && parse_integer(text, value).empty() && value >= 0) {
      return value;
    }
  }
  return std::nullopt;
}

}  // namespace

int64_t launch_rank() {
  return first_set({"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK"}).value_or(0);
}

std::optional<int64_t> launch_world_size() {
  return first_set({"OMPI_COMM_WORLD_SIZE", "PMI_SIZE"});
}

void print_once(const std::string& text) {
  if (launch_rank() != 0) {
    return;
  }
  std::cout << text << std::flush;
  if (!std::cout) {
    throw ExitError(ExitCode::kStorage, "cannot write to standard output");
  }
}

}  // namespace moesaic::trainer
