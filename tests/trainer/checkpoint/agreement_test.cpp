#include "trainer/checkpoint/agreement.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/spawn_ranks.h"
#include "trainer/exit_code.h"

namespace moesaic::tests {
namespace {

using testing::HasSubstr;
using trainer::ExitCode;
using trainer::ExitError;

TEST(Agreement, GathersTextsOfDifferentLengths) {
  spawn_ranks(3, [](parallel::Communicator& communicator) {
    const auto texts = trainer::gather_texts(
        communicator, std::string(communicator.rank() * 5, static_cast<char>(communicator.rank())));
    ASSERT_EQ(texts.size(), 3u);
    EXPECT_EQ(texts[0], "");
    EXPECT_EQ(texts[1], std::string(5, '\1'));
    EXPECT_EQ(texts[2], std::string(10, '\2'));
    EXPECT_EQ(trainer::gather_texts(communicator, ""), std::vector<std::string>(3));
  });
}

TEST(Agreement, BroadcastsAText) {
  spawn_ranks(3, [](parallel::Communicator& communicator) {
    const std::string mine = "from rank " + std::to_string(communicator.rank());
    EXPECT_EQ(trainer::broadcast_text(communicator, mine, 2), "from rank 2");
    EXPECT_EQ(trainer::broadcast_text(communicator, communicator.rank() == 0 ? "" : mine, 0), "");
  });
}

TEST(Agreement, OneFailureIsEverybodysFailure) {
  spawn_ranks(3, [](parallel::Communicator& communicator) {
    trainer::attempt_together(communicator, [] {});
    try {
      trainer::attempt_together(communicator, [&] {
        if (communicator.rank() == 1)
          throw ExitError(ExitCode::kBadFile, "the file is bad");
        if (communicator.rank() == 2)
          throw std::runtime_error("something else");
      });
      ADD_FAILURE() << "rank " << communicator.rank() << " did not hear of it";
    } catch (const ExitError& error) {
      EXPECT_EQ(error.code(), ExitCode::kBadFile);
      EXPECT_STREQ(error.what(), "rank 1: the file is bad; rank 2: something else");
    }
    trainer::attempt_together(communicator, [] {});
  });
}

TEST(Agreement, ManyFailuresAreCounted) {
  spawn_ranks(5, [](parallel::Communicator& communicator) {
    try {
      trainer::attempt_together(communicator,
                                [] { throw ExitError(ExitCode::kStorage, "disk full"); });
      ADD_FAILURE();
    } catch (const ExitError& error) {
      EXPECT_THAT(error.what(), HasSubstr("rank 2: disk full; and 2 more ranks"));
    }
  });
}

}  // namespace
}  // namespace moesaic::tests
