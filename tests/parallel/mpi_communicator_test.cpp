// The cases of every back-end on ranks that are processes. Run under mpirun; every rank runs every
// test, the exit code is the worst of all.
#include "parallel/mpi_communicator.h"

#include <gtest/gtest.h>

#include "parallel/communicator_cases.h"
#include "tests/support/spawn_ranks.h"

namespace moesaic::tests {

namespace {

parallel::CommunicatorPtr world;

class MpiCommunicatorCases : public ::testing::TestWithParam<CommunicatorCase> {};

TEST_P(MpiCommunicatorCases, Case) {
  GetParam().body(world);
}

INSTANTIATE_TEST_SUITE_P(All, MpiCommunicatorCases, ::testing::ValuesIn(communicator_cases()),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(MpiCommunicator, SameBitsAsThreads) {
  std::vector<std::vector<char>> bits(world->size());
  spawn_ranks(world->size(),
              [&](parallel::Communicator& comm) { bits[comm.rank()] = reduction_bits(comm); });
  EXPECT_EQ(reduction_bits(*world), bits[world->rank()]);
}

TEST(MpiCommunicator, MeshGroupsFitTheThreads) {
  EXPECT_EQ(world->name(), "world");
  EXPECT_TRUE(parallel::is_launched_by_mpi());
  EXPECT_NE(parallel::mpi_version().find("MPI"), std::string::npos);
}

/// The worst exit code of all ranks.
int combine(int code) {
  at::Tensor worst = at::full({1}, code, at::kLong);
  world->all_reduce_max(worst)->wait();
  return static_cast<int>(worst.item<int64_t>());
}

}  // namespace

}  // namespace moesaic::tests

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  moesaic::parallel::CommunicationOptions options;
  options.timeout_s = 60;
  // An optional argument: the limit of one message, so that the cases travel in pieces.
  options.max_message_bytes = argc > 1 ? std::stoll(argv[1]) : options.max_message_bytes;
  moesaic::parallel::MpiSession session;
  if (session.rank() != 0) {
    auto& listeners = ::testing::UnitTest::GetInstance()->listeners();
    delete listeners.Release(listeners.default_result_printer());
    struct FailurePrinter : ::testing::EmptyTestEventListener {
      void OnTestPartResult(const ::testing::TestPartResult& result) override {
        if (result.failed()) {
          std::fprintf(stderr, "%s:%d: %s\n", result.file_name(), result.line_number(),
                       result.message());
        }
      }
    };
    listeners.Append(new FailurePrinter);
  }
  moesaic::tests::world = moesaic::parallel::make_mpi_communicator(session, options);
  const int code = moesaic::tests::combine(RUN_ALL_TESTS());
  moesaic::tests::world.reset();
  return code;
}
