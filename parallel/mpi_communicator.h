// Ranks as processes under mpirun, CPU tensors.
#pragma once

#include "parallel/communication_options.h"
#include "parallel/communicator.h"
#include "parallel/mpi_session.h"

namespace moesaic::parallel {

/// The world communicator; once a session, before any other use of MPI. Starts this rank's
/// communication thread, which makes all MPI calls from here to MPI_Finalize, its operation ring
/// and its watchdog: an operation that takes longer than options.timeout_s ends the process with
/// exit code 71. Collective. The communicator and its splits fail once the session has ended.
/// Throws CommunicationError; std::invalid_argument for options out of range.
CommunicatorPtr make_mpi_communicator(MpiSession& session, const CommunicationOptions& options);

}  // namespace moesaic::parallel
