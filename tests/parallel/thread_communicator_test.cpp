// The cases of every back-end on ranks that are threads, and what happens when a rank fails.
#include "parallel/thread_communicator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "parallel/communicator_cases.h"
#include "tests/support/spawn_ranks.h"

namespace moesaic::tests {

namespace {

using parallel::CommunicationError;
using parallel::Communicator;
using parallel::CommunicatorPtr;
using ::testing::AllOf;
using ::testing::HasSubstr;

class ThreadCommunicator
    : public ::testing::TestWithParam<std::tuple<CommunicatorCase, int, int64_t>> {};

TEST_P(ThreadCommunicator, Case) {
  const auto& [communicator_case, size, max_message_bytes] = GetParam();
  spawn_ranks(size, communicator_case.body,
              {.timeout_s = 60, .max_message_bytes = max_message_bytes});
}

std::string case_name(const ::testing::TestParamInfo<ThreadCommunicator::ParamType>& info) {
  return std::string(std::get<0>(info.param).name) + "On" +
         std::to_string(std::get<1>(info.param)) +
         (std::get<2>(info.param) < 100000 ? "InPieces" : "");
}

INSTANTIATE_TEST_SUITE_P(Sizes, ThreadCommunicator,
                         ::testing::Combine(::testing::ValuesIn(communicator_cases()),
                                            ::testing::Values(1, 2, 3, 4, 7),
                                            ::testing::Values(int64_t{1} << 30)),
                         case_name);
// Payloads above the limit of one message, with a limit that is no multiple of an element.
INSTANTIATE_TEST_SUITE_P(Pieces, ThreadCommunicator,
                         ::testing::Combine(::testing::ValuesIn(communicator_cases()),
                                            ::testing::Values(3), ::testing::Values(1001)),
                         case_name);

TEST(ThreadCommunicator, SumsInRankOrder) {
  spawn_ranks(3, [](Communicator& comm) {
    // (1 + 1e8) - 1e8 is 0 in float, 1 + (1e8 - 1e8) would be 1.
    const float values[] = {1.0f, 1e8f, -1e8f};
    at::Tensor x = at::full({10}, values[comm.rank()], at::kFloat);
    comm.all_reduce_sum(x)->wait();
    EXPECT_TRUE(at::equal(x, at::zeros({10})));
  });
}

TEST(ThreadCommunicator, BFloat16AccumulatesInFloat) {
  spawn_ranks(4, [](Communicator& comm) {
    // 256 + 1 + 1 + 1 stays 256 when every partial sum is rounded to bfloat16, else it is 260
    // (259 rounded once).
    at::Tensor x = at::full({9}, comm.rank() == 0 ? 256.0 : 1.0, at::kBFloat16);
    comm.all_reduce_sum(x)->wait();
    EXPECT_TRUE(at::equal(x, at::full({9}, 260.0, at::kBFloat16)));
  });
}

TEST(ThreadCommunicator, ReplicasAreIdentical) {
  std::vector<std::vector<char>> bits(4);
  spawn_ranks(4, [&](Communicator& comm) { bits[comm.rank()] = reduction_bits(comm); });
  // The scattered parts differ by rank; the replicas are what precedes them in each type.
  for (int rank = 1; rank < 4; ++rank) {
    EXPECT_TRUE(std::equal(bits[0].begin(), bits[0].begin() + 4 * 5003 * 4, bits[rank].begin()));
  }
}

// --- failures ------------------------------------------------------------------------------------

TEST(ThreadCommunicatorFailure, OfOneRankEndsTheOthers) {
  for (int failing = 0; failing < 3; ++failing) {
    std::vector<std::string> errors(3);
    try {
      spawn_ranks(3, [&](Communicator& comm) {
        if (comm.rank() == failing) {
          throw std::runtime_error("flat tyre");
        }
        try {
          comm.all_reduce_sum(at::zeros({10}))->wait();
        } catch (const CommunicationError& error) {
          errors[comm.rank()] = error.what();
          throw;
        }
      });
      ADD_FAILURE() << "nothing was thrown";
    } catch (const std::exception& error) {
      EXPECT_STREQ(error.what(), "flat tyre");
    }
    for (int rank = 0; rank < 3; ++rank) {
      if (rank != failing) {
        EXPECT_THAT(errors[rank],
                    HasSubstr("rank " + std::to_string(failing) + " failed: flat tyre"));
      }
    }
  }
}

/// Runs the body, expects a CommunicationError on every rank and returns the messages.
std::vector<std::string> errors_of(int n, const std::function<void(Communicator&)>& body,
                                   double timeout_s = 60) {
  std::vector<std::string> errors(n, "nothing was thrown");
  EXPECT_THROW(spawn_ranks(n,
                           [&](Communicator& comm) {
                             try {
                               body(comm);
                             } catch (const CommunicationError& error) {
                               errors[comm.rank()] = error.what();
                               throw;
                             }
                           },
                           {.timeout_s = timeout_s}),
               CommunicationError);
  return errors;
}

TEST(ThreadCommunicatorFailure, WrongSizeIsReportedByBothSides) {
  const auto errors = errors_of(2, [](Communicator& comm) {
    comm.barrier()->wait();
    at::Tensor x = at::ones({comm.rank() == 0 ? 1000 : 999}, at::kFloat);
    try {
      comm.all_reduce_sum(x)->wait();
    } catch (const CommunicationError&) {
      EXPECT_TRUE(at::equal(x, at::ones_like(x)));  // untouched
      throw;
    }
  });
  for (const std::string& error : errors) {
    EXPECT_THAT(error, AllOf(HasSubstr("disagree in size"), HasSubstr("4000 bytes"),
                             HasSubstr("3996 bytes"), HasSubstr("all_reduce_sum #1")));
  }
}

TEST(ThreadCommunicatorFailure, WrongOperationTypeRootRows) {
  for (const auto& error : errors_of(3, [](Communicator& comm) {
         at::Tensor x = at::ones({12});
         (comm.rank() == 1 ? comm.all_reduce_max(x) : comm.all_reduce_sum(x))->wait();
       })) {
    EXPECT_THAT(error, AllOf(HasSubstr("disagree in operation"), HasSubstr("all_reduce_max #0"),
                             HasSubstr("all_reduce_sum #0")));
  }
  for (const auto& error : errors_of(2, [](Communicator& comm) {
         comm.all_reduce_sum(at::ones({12}, comm.rank() == 0 ? at::kFloat : at::kInt))->wait();
       })) {
    EXPECT_THAT(error, AllOf(HasSubstr("type"), HasSubstr("Float"), HasSubstr("Int")));
  }
  for (const auto& error : errors_of(
           2, [](Communicator& comm) { comm.broadcast(at::ones({12}), comm.rank())->wait(); })) {
    EXPECT_THAT(error,
                AllOf(HasSubstr("disagree in root"), HasSubstr("root 0"), HasSubstr("root 1")));
  }
  for (const auto& error : errors_of(2, [](Communicator& comm) {
         // Rank 1 expects two rows from rank 0, which sends one.
         const std::vector<int64_t> sends = {1, 1}, expects = {comm.rank() == 0 ? 1 : 2, 1};
         comm.all_to_all_v(at::zeros({expects[0] + 1, 4}), at::zeros({2, 4}), expects, sends)
             ->wait();
       })) {
    EXPECT_THAT(error, AllOf(HasSubstr("disagree in rows"), HasSubstr("sends 1 and expects 1"),
                             HasSubstr("sends 1 and expects 2")));
  }
  for (const auto& error : errors_of(2, [](Communicator& comm) {
         (comm.rank() == 0 ? comm.send(at::ones({3}), 1) : comm.recv(at::ones({4}), 0))->wait();
       })) {
    EXPECT_THAT(error,
                AllOf(HasSubstr("disagree in size"), HasSubstr("12 bytes"), HasSubstr("16 bytes")));
  }
}

TEST(ThreadCommunicatorFailure, DeadlineNamesTheAbsentRank) {
  const auto errors = errors_of(
      3,
      [](Communicator& comm) {
        if (comm.rank() != 1) {
          comm.all_reduce_sum(at::zeros({10}))->wait();
        } else {
          comm.recv(at::zeros({1}), 0)->wait();  // the others never send
        }
      },
      /*timeout_s=*/0.5);
  EXPECT_THAT(errors[0] + errors[2], HasSubstr("nothing heard from rank 1"));
}

TEST(ThreadCommunicatorFailure, NothingWorksAfterAnError) {
  errors_of(2, [](Communicator& comm) {
    EXPECT_THROW(comm.all_reduce_sum(at::ones({comm.rank() + 1}))->wait(), CommunicationError);
    comm.barrier()->wait();
  });
}

TEST(SpawnRanks, PassesPointersAndReturnsTheFirstError) {
  spawn_ranks(2, [](CommunicatorPtr comm) { EXPECT_EQ(comm->size(), 2); });
  EXPECT_THROW(spawn_ranks(1, [](Communicator&) { throw std::out_of_range("x"); }),
               std::out_of_range);
}

TEST(SingleCommunicator, NeedsNobody) {
  const CommunicatorPtr comm = parallel::make_single_communicator();
  for (const CommunicatorCase& communicator_case : communicator_cases()) {
    communicator_case.body(comm);
  }
  EXPECT_EQ(comm->bytes_sent(), 0);
}

}  // namespace

}  // namespace moesaic::tests
