// Runs a test body on n ranks that are threads of this process.
//
// The default generator and the thread count are shared by all ranks: a body touches neither.
#pragma once

#include <exception>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

#include "parallel/thread_communicator.h"

namespace moesaic::tests {

/// Calls body(communicator) in n threads, one a rank, and returns when all have ended. body takes
/// a Communicator& or a CommunicatorPtr. Re-throws the first error; the other ranks, should they
/// wait for the one that threw, end with a CommunicationError. options.timeout_s is the deadline
/// of each operation.
template <typename Body>
void spawn_ranks(int n, Body&& body, parallel::CommunicationOptions options = {.timeout_s = 60}) {
  parallel::ThreadWorld world(n, options);
  std::mutex mutex;
  std::exception_ptr first_error;
  auto run = [&](int rank) {
    auto fail = [&](const std::string& what) {
      std::lock_guard lock(mutex);
      if (!first_error) {
        first_error = std::current_exception();
      }
      world.fail(rank, what);
    };
    try {
      const parallel::CommunicatorPtr communicator = world.communicator(rank);
      if constexpr (std::is_invocable_v<Body&, parallel::CommunicatorPtr>) {
        body(communicator);
      } else {
        body(*communicator);
      }
    } catch (const std::exception& error) {
      fail(error.what());
    } catch (...) {
      fail("an unknown exception");
    }
  };
  std::vector<std::thread> threads;
  for (int rank = 0; rank < n; ++rank) {
    threads.emplace_back(run, rank);
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  if (first_error) {
    std::rethrow_exception(first_error);
  }
}

}  // namespace moesaic::tests
