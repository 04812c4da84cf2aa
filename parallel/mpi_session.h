// MPI_Init_thread and MPI_Finalize as an object.
//
// At most one a process, on the main thread, with the signal handlers set before. MPI_Finalize is
// only reached when all is well: it waits for all ranks, so a rank that leaves by an exception just
// ends, and mpirun takes the others down with its exit code.
#pragma once

#include <memory>
#include <string>

namespace moesaic::parallel {

/// Whether the process was started by mpirun (or another PMI launcher) with ranks to talk to;
/// without it use make_single_communicator(). Before any MPI call.
bool is_launched_by_mpi();

class MpiSession {
 public:
  /// Something between this session and its end, e.g. the communication thread.
  class Guest {
   public:
    virtual ~Guest() = default;
    /// All ranks are well and come here too. Throws CommunicationError when they do not.
    virtual void before_finalize() = 0;
    virtual void after_finalize() = 0;
    /// This rank leaves alone. Makes no further MPI calls.
    virtual void abandon() = 0;
  };

  /// Collective. Throws CommunicationError if MPI offers less than MPI_THREAD_SERIALIZED.
  MpiSession();
  /// Collective, unless an exception is being thrown or the communication has failed: then it
  /// leaves without MPI_Finalize. An error on the way ends the process with 71.
  ~MpiSession();
  MpiSession(const MpiSession&) = delete;
  MpiSession& operator=(const MpiSession&) = delete;

  int rank() const { return rank_; }
  int size() const { return size_; }

  /// Throws std::logic_error for a second guest.
  void set_guest(std::unique_ptr<Guest> guest);

 private:
  const int exceptions_at_start_;
  int rank_ = 0;
  int size_ = 1;
  std::unique_ptr<Guest> guest_;
};

}  // namespace moesaic::parallel
