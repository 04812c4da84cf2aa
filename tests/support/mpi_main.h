// main() of a test binary whose ranks are processes: every rank runs every test, only rank 0 prints
// its progress, all print their failures, and the exit code is the worst of all ranks.
#pragma once

#include <ATen/Functions.h>
#include <gtest/gtest.h>

#include <cstdio>

#include "parallel/mpi_communicator.h"

namespace moesaic::tests {

/// The communicator of all ranks, while run_mpi_tests runs.
inline parallel::CommunicatorPtr& mpi_world() {
  static parallel::CommunicatorPtr world;
  return world;
}

class FailurePrinter : public ::testing::EmptyTestEventListener {
  void OnTestPartResult(const ::testing::TestPartResult& result) override {
    if (result.failed()) {
      std::fprintf(stderr, "%s:%d: %s\n", result.file_name(), result.line_number(),
                   result.message());
    }
  }
};

/// Collective over the processes of one mpirun. Removes GoogleTest's arguments from argv.
inline int run_mpi_tests(int* argc, char** argv, parallel::CommunicationOptions options) {
  ::testing::InitGoogleTest(argc, argv);
  parallel::MpiSession session;
  if (session.rank() != 0) {
    auto& listeners = ::testing::UnitTest::GetInstance()->listeners();
    delete listeners.Release(listeners.default_result_printer());
    listeners.Append(new FailurePrinter);
  }
  mpi_world() = parallel::make_mpi_communicator(session, options);
  const auto worst = at::full({1}, RUN_ALL_TESTS(), at::kLong);
  mpi_world()->all_reduce_max(worst)->wait();
  mpi_world().reset();
  return static_cast<int>(worst.item<int64_t>());
}

}  // namespace moesaic::tests
