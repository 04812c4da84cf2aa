#include "trainer/run_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/trainer/data/dataset_files.h"

namespace moesaic::trainer {
namespace {

using testing::HasSubstr;

struct Said {
  std::string out;
  std::string err;
};

Said say(const std::string& run_dir, int rank) {
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  {
    RunLog log(run_dir, rank);
    log.info("100% {done}");
    log.warn("disk nearly full");
  }
  return {testing::internal::GetCapturedStdout(), testing::internal::GetCapturedStderr()};
}

TEST(RunLog, OnlyRankZeroWritesToStdout) {
  const TemporaryFolder folder;
  EXPECT_EQ(say(folder.path(""), 0).out, "100% {done}\n");
  EXPECT_EQ(say(folder.path(""), 1).out, "");
}

TEST(RunLog, EveryRankHasItsFileAndWarnsOnStderr) {
  const TemporaryFolder folder;
  for (const int rank : {0, 3}) {
    EXPECT_EQ(say(folder.path(""), rank).err,
              "rank " + std::to_string(rank) + ": warning: disk nearly full\n");
    const auto file = folder.path("rank-" + std::to_string(rank) + ".log");
    EXPECT_THAT(read_bytes(file), HasSubstr("info 100% {done}\n"));
    EXPECT_THAT(read_bytes(file), HasSubstr("warning disk nearly full\n"));
    const auto size = read_bytes(file).size();
    say(folder.path(""), rank);  // a resumed run goes on in the same file
    EXPECT_EQ(read_bytes(file).size(), 2 * size);
  }
}

TEST(RunLog, AFileThatCannotBeOpenedIsAStorageError) {
  const TemporaryFolder folder;
  write_bytes(folder.path("file"), "");
  expect_exit_error([&] { RunLog(folder.path("file"), 2); }, ExitCode::kStorage, "rank-2.log");
}

}  // namespace
}  // namespace moesaic::trainer
