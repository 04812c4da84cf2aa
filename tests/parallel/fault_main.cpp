// A job in which one rank misbehaves; fault_test.sh runs it under mpirun and looks at the end.
//
//   parallel_fault KIND RANK TIMEOUT_S RING_FOLDER
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <string>

#include "parallel/mpi_communicator.h"

namespace {

using moesaic::parallel::CommunicationError;
using moesaic::parallel::Communicator;

/// Exchanges until the fault; only rank `culprit` commits it, in round 20.
void run(Communicator& world, const std::string& kind, int culprit) {
  const bool is_culprit = world.rank() == culprit;
  const std::vector<int64_t> splits(world.size(), 500);
  for (int round = 0; round < 40; ++round) {
    const bool strikes = is_culprit && round == 20;
    at::Tensor rows = at::full({500 * world.size(), 64}, world.rank(), at::kFloat);
    at::Tensor received = at::empty_like(rows);
    const auto exchange = world.all_to_all_v(received, rows, splits, splits);
    if (strikes && kind == "stop") {
      raise(SIGSTOP);
    }
    exchange->wait();
    if (strikes && kind == "exit") {
      _exit(0);
    }
    if (strikes && kind == "leave") {
      return;  // to MPI_Finalize, while the others go on
    }
    if (strikes && kind == "throw") {
      throw std::runtime_error("disk full");
    }
    if (strikes && kind == "sleep") {
      sleep(1000);
    }
    at::Tensor sum = at::full({strikes && kind == "wrong_size" ? 999 : 1000}, 1, at::kFloat);
    const auto reduction = strikes && kind == "skip" ? nullptr : world.all_reduce_sum(sum);
    if (reduction) {
      reduction->wait();
      // Seen by the script if a wrong result was ever handed out.
      if (sum[0].item<float>() != static_cast<float>(world.size()) || sum.numel() != 1000) {
        std::fprintf(stderr, "RESULT USED on rank %d\n", world.rank());
      }
    }
    if (round == 20 && kind == "detached") {
      world.recv(sum, (world.rank() + 1) % world.size());  // never waited for, never sent
      sleep(1000);
    }
  }
}

}  // namespace

int main(int, char** argv) {
  const std::string kind = argv[1];
  moesaic::parallel::CommunicationOptions options;
  options.timeout_s = std::stod(argv[3]);
  options.ring_folder = argv[4];
  std::fprintf(stderr, "pid %d\n", static_cast<int>(getpid()));
  int rank = -1;
  try {
    moesaic::parallel::MpiSession session;
    rank = session.rank();
    const auto world = moesaic::parallel::make_mpi_communicator(session, options);
    run(*world, kind, std::stoi(argv[2]));
  } catch (const CommunicationError& error) {
    std::fprintf(stderr, "rank %d: CommunicationError: %s\n", rank, error.what());
    return 71;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "rank %d: %s\n", rank, error.what());
    return 74;
  }
  return 0;
}
