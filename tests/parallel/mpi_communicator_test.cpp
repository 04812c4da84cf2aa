// The cases of every back-end on ranks that are processes. Run under mpirun; every rank runs every
// test, the exit code is the worst of all.
#include "parallel/mpi_communicator.h"

#include <gtest/gtest.h>

#include "parallel/communicator_cases.h"
#include "tests/support/mpi_main.h"
#include "tests/support/spawn_ranks.h"

namespace moesaic::tests {

namespace {

class MpiCommunicatorCases : public ::testing::TestWithParam<CommunicatorCase> {};

TEST_P(MpiCommunicatorCases, Case) {
  GetParam().body(mpi_world());
}

INSTANTIATE_TEST_SUITE_P(All, MpiCommunicatorCases, ::testing::ValuesIn(communicator_cases()),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(MpiCommunicator, SameBitsAsThreads) {
  std::vector<std::vector<char>> bits(mpi_world()->size());
  spawn_ranks(mpi_world()->size(),
              [&](parallel::Communicator& comm) { bits[comm.rank()] = reduction_bits(comm); });
  EXPECT_EQ(reduction_bits(*mpi_world()), bits[mpi_world()->rank()]);
}

TEST(MpiCommunicator, MeshGroupsFitTheThreads) {
  EXPECT_EQ(mpi_world()->name(), "world");
  EXPECT_TRUE(parallel::is_launched_by_mpi());
}

}  // namespace

}  // namespace moesaic::tests

int main(int argc, char** argv) {
  moesaic::parallel::CommunicationOptions options;
  options.timeout_s = 60;
  // An optional argument: the limit of one message, so that the cases travel in pieces.
  if (argc > 1 && argv[argc - 1][0] != '-') {
    options.max_message_bytes = std::stoll(argv[argc - 1]);
  }
  return moesaic::tests::run_mpi_tests(&argc, argv, options);
}
