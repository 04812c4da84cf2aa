// The wish of a scheduler or a user that the run should end: SIGUSR1, SIGTERM, SIGINT.
// Handlers only set a flag; the ranks agree on it in the step's metrics reduction.
#pragma once

namespace moesaic::trainer {

/// Installs the handlers; to be called before MPI_Init. A second SIGINT within five seconds ends
/// the process at once.
void install_stop_signal_handlers();

/// Whether one of the signals has arrived at this process.
bool stop_was_requested();

}  // namespace moesaic::trainer
