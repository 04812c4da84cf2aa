#include "parallel/mpi_session.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <exception>

#include "parallel/communicator.h"
#include "parallel/mpi_check.h"

namespace moesaic::parallel {

void check_mpi(int code, const char* call, int rank) {
  if (code == MPI_SUCCESS) {
    return;
  }
  char text[MPI_MAX_ERROR_STRING] = {};
  int length = 0;
  if (MPI_Error_string(code, text, &length) != MPI_SUCCESS) {
    std::snprintf(text, sizeof(text), "unknown MPI error %d", code);
  }
  throw CommunicationError("rank " + std::to_string(rank) + ": " + call + " failed: " + text);
}

bool is_launched_by_mpi() {
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK"}) {
    if (std::getenv(name) != nullptr) {
      return true;
    }
  }
  return false;
}

MpiSession::MpiSession() : exceptions_at_start_(std::uncaught_exceptions()) {
  int provided = MPI_THREAD_SINGLE;
  check_mpi(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &provided), "MPI_Init_thread",
            /*rank=*/-1);
  MPI_CHECK(-1, MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN));
  MPI_CHECK(-1, MPI_Comm_set_errhandler(MPI_COMM_SELF, MPI_ERRORS_RETURN));
  MPI_CHECK(-1, MPI_Comm_rank(MPI_COMM_WORLD, &rank_));
  MPI_CHECK(rank_, MPI_Comm_size(MPI_COMM_WORLD, &size_));
  if (provided < MPI_THREAD_SERIALIZED) {
    throw CommunicationError(
        "rank " + std::to_string(rank_) + ": MPI must offer MPI_THREAD_SERIALIZED (" +
        std::to_string(MPI_THREAD_SERIALIZED) + "), it offers level " + std::to_string(provided));
  }
}

void MpiSession::set_guest(std::unique_ptr<Guest> guest) {
  if (guest_) {
    throw std::logic_error("a session has one guest");
  }
  guest_ = std::move(guest);
}

MpiSession::~MpiSession() {
  if (std::uncaught_exceptions() > exceptions_at_start_) {
    if (guest_) {
      guest_->abandon();
    }
    return;
  }
  try {
    if (guest_) {
      guest_->before_finalize();
    }
    MPI_CHECK(rank_, MPI_Finalize());
    if (guest_) {
      guest_->after_finalize();
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "[rank %d] %s\n", rank_, error.what());
    _exit(71);
  }
}

}  // namespace moesaic::parallel
