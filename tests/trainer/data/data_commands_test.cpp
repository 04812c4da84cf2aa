#include "trainer/data/data_commands.h"

#include <gmock/gmock.h>

#include "tests/trainer/data/dataset_files.h"
#include "trainer/data/indexed_dataset.h"

namespace moesaic::trainer {
namespace {

using testing::HasSubstr;

template <typename Action>
std::string stdout_of(const Action& action) {
  testing::internal::CaptureStdout();
  try {
    action();
  } catch (...) {
    testing::internal::GetCapturedStdout();
    throw;
  }
  return testing::internal::GetCapturedStdout();
}

std::vector<int64_t> tokens_of(const std::string& prefix) {
  const IndexedDataset dataset(prefix);
  std::vector<int64_t> tokens(static_cast<size_t>(dataset.num_tokens()));
  dataset.read_tokens(0, tokens);
  return tokens;
}

TEST(DataPrepareTest, DocumentsBecomeBytesThatEndWithTheEndToken) {
  TemporaryFolder folder;
  write_bytes(folder.path("a.txt"), "hi\xFF");
  write_bytes(folder.path("b.jsonl"), "{\"text\": \"\"}\n{\"text\": \"o\"}\n");
  const auto output = stdout_of([&] {
    EXPECT_EQ(data_prepare_command({.inputs = {folder.path("")}, .output = folder.path("out/x")}),
              0);
  });
  EXPECT_EQ(tokens_of(folder.path("out/x")), (std::vector<int64_t>{'h', 'i', 255, 256, 'o', 256}));
  const IndexedDataset dataset(folder.path("out/x"));
  EXPECT_EQ(dataset.num_documents(), 2);
  EXPECT_EQ(dataset.token_type(), TokenType::kUInt16);
  EXPECT_THAT(output, HasSubstr("2 documents, 6 tokens, 4 bytes of text from 2 files "
                                "(1 empty documents left out)"));
}

TEST(DataPrepareTest, TheEndTokenCanBeLeftOut) {
  TemporaryFolder folder;
  write_bytes(folder.path("a.txt"), "hi");
  stdout_of([&] {
    data_prepare_command({.inputs = {folder.path("a.txt"), folder.path("a.txt")},
                          .output = folder.path("x"),
                          .append_end_token = false});
  });
  EXPECT_EQ(tokens_of(folder.path("x")), (std::vector<int64_t>{'h', 'i', 'h', 'i'}));
}

TEST(DataPrepareTest, FailuresLeaveNoFile) {
  TemporaryFolder folder;
  write_bytes(folder.path("empty.txt"), "");
  write_bytes(folder.path("bad.jsonl"), "{\"text\": \"x\"}\nnonsense\n");
  const auto prepare = [&](const std::string& input) {
    data_prepare_command({.inputs = {folder.path(input)}, .output = folder.path("out/x")});
  };
  expect_exit_error([&] { prepare("empty.txt"); }, ExitCode::kBadFile, "no document in 1 files");
  expect_exit_error([&] { prepare("bad.jsonl"); }, ExitCode::kBadFile, "bad.jsonl:2:");
  EXPECT_TRUE(std::filesystem::is_empty(folder.path("out")));
}

TEST(DataInfoTest, TellsWhatTheDataSetHolds) {
  TemporaryFolder folder;
  write_dataset(folder.path("x"), {{}, {'T', 'o', '\n', 7, 256}, {'b'}});
  const auto output = stdout_of(
      [&] { EXPECT_EQ(data_info_command({.prefix = folder.path("x"), .vocab_size = 257}), 0); });
  EXPECT_THAT(output, HasSubstr("documents:   3\n"));
  EXPECT_THAT(output, HasSubstr("tokens:      6\n"));
  EXPECT_THAT(output, HasSubstr("dtype:       uint16\n"));
  EXPECT_THAT(output, HasSubstr("ids:         7 to 256\n"));
  EXPECT_THAT(output, HasSubstr("text:        To\\n\\x07\n"));
  const TokenWindows windows({folder.path("x")}, 1, 257);
  EXPECT_THAT(output, HasSubstr("fingerprint: " + windows.fingerprint() + "\n"));
}

TEST(DataInfoTest, IdsThatAreNoBytesAreShownAsNumbers) {
  TemporaryFolder folder;
  write_dataset(folder.path("x"), {{3, 50'000}});
  const auto output =
      stdout_of([&] { data_info_command({.prefix = folder.path("x"), .vocab_size = {}}); });
  EXPECT_THAT(output, HasSubstr("first ids:   3 50000\n"));
}

TEST(DataInfoTest, IdsOutsideTheVocabularyAreBadData) {
  TemporaryFolder folder;
  write_dataset(folder.path("x"), {{3, 257}}, TokenType::kInt32);
  expect_exit_error(
      [&] {
        stdout_of([&] { data_info_command({.prefix = folder.path("x"), .vocab_size = 257}); });
      },
      ExitCode::kBadFile, "x.bin: byte 4: a token id must be below the vocabulary size (257)");
  write_dataset(folder.path("y"), {{3, -1}}, TokenType::kInt32);
  expect_exit_error(
      [&] {
        stdout_of([&] { data_info_command({.prefix = folder.path("y"), .vocab_size = {}}); });
      },
      ExitCode::kBadFile, "y.bin: byte 4: a token id");
}

TEST(DataInfoTest, AnEmptyDataSetHasNoIds) {
  TemporaryFolder folder;
  write_dataset(folder.path("x"), {});
  const auto output =
      stdout_of([&] { data_info_command({.prefix = folder.path("x"), .vocab_size = {}}); });
  EXPECT_THAT(output, HasSubstr("tokens:      0\nd"));
}

}  // namespace
}  // namespace moesaic::trainer
