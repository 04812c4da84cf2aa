// Who we are in a job, as the launcher says before MPI is initialised. For messages and for rules
// that need the number of ranks; the communicator is the truth once it exists.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace moesaic::trainer {

/// Rank in the job; 0 when there is no launcher.
int64_t launch_rank();

/// Number of ranks in the job; absent when there is no launcher.
std::optional<int64_t> launch_world_size();

/// Writes to stdout on rank 0, does nothing elsewhere. Throws ExitError(kStorage) if stdout is full
/// or closed.
void print_once(const std::string& text);

}  // namespace moesaic::trainer
