// Every MPI call is checked: errors return (MPI_ERRORS_RETURN) and are thrown here.
#pragma once

// Without the C++ bindings, which would have to be linked.
#define OMPI_SKIP_MPICXX 1
#define MPICH_SKIP_MPICXX 1
#include <mpi.h>

namespace moesaic::parallel {

/// Throws CommunicationError("rank R: CALL failed: text of MPI") unless code is MPI_SUCCESS.
void check_mpi(int code, const char* call, int rank);

/// Evaluates an MPI call and checks it, with the call's own text.
#define MPI_CHECK(rank, call) ::moesaic::parallel::check_mpi((call), #call, (rank))

}  // namespace moesaic::parallel
