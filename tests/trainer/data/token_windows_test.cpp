#include "trainer/data/token_windows.h"

#include "tests/trainer/data/dataset_files.h"

namespace moesaic::trainer {
namespace {

std::vector<int64_t> window(const TokenWindows& windows, int64_t index) {
  std::vector<int64_t> tokens(static_cast<size_t>(windows.sequence_length()) + 1);
  windows.read(index, tokens);
  return tokens;
}

TEST(TokenWindowsTest, WindowsOverlapByOneAndCrossDocumentsAndSources) {
  TemporaryFolder folder;
  write_dataset(folder.path("a"), {{0, 1, 2}, {3, 4}});
  write_dataset(folder.path("b"), {{5}}, TokenType::kInt64);
  write_dataset(folder.path("c"), {});
  write_dataset(folder.path("d"), {{6, 7, 8, 9}}, TokenType::kUInt8);
  const TokenWindows windows(
      {folder.path("a"), folder.path("b"), folder.path("c"), folder.path("d")}, 3, 10);
  EXPECT_EQ(windows.num_tokens(), 10);
  ASSERT_EQ(windows.size(), 3);
  EXPECT_EQ(window(windows, 0), (std::vector<int64_t>{0, 1, 2, 3}));
  EXPECT_EQ(window(windows, 1), (std::vector<int64_t>{3, 4, 5, 6}));
  EXPECT_EQ(window(windows, 2), (std::vector<int64_t>{6, 7, 8, 9}));
}

TEST(TokenWindowsTest, CountsWholeWindowsOnly) {
  TemporaryFolder folder;
  for (const auto& [tokens, expected] : {std::pair{5, 1}, {8, 1}, {9, 2}, {10, 2}, {13, 3}}) {
    write_dataset(folder.path("x"), {std::vector<int64_t>(static_cast<size_t>(tokens), 1)});
    EXPECT_EQ(TokenWindows({folder.path("x")}, 4, 2).size(), expected) << tokens << " tokens";
  }
}

TEST(TokenWindowsTest, TooFewTokensForOneWindowAreBadData) {
  TemporaryFolder folder;
  write_dataset(folder.path("x"), {{1, 2}});
  write_dataset(folder.path("y"), {{3, 4}});
  expect_exit_error(
      [&] {
        TokenWindows({folder.path("x"), folder.path("y")}, 4, 10);
      },
      ExitCode::kBadFile, "y: one sample takes sequence_length + 1 = 5 tokens, found 4");
  expect_exit_error([&] { TokenWindows({}, 4, 10); }, ExitCode::kConfiguration,
                    "at least one source");
  write_dataset(folder.path("empty"), {});
  expect_exit_error([&] { TokenWindows({folder.path("empty")}, 1, 10); }, ExitCode::kBadFile,
                    "= 2 tokens, found 0");
}

TEST(TokenWindowsTest, ATokenOutsideTheVocabularyNamesFileAndByte) {
  TemporaryFolder folder;
  write_dataset(folder.path("a"), {{0, 1, 2, 3}}, TokenType::kInt32);
  write_dataset(folder.path("b"), {{4, 5, 6, 10, -1}}, TokenType::kInt32);
  const TokenWindows windows({folder.path("a"), folder.path("b")}, 2, 10);
  EXPECT_EQ(window(windows, 2), (std::vector<int64_t>{4, 5, 6}));
  expect_exit_error([&] { window(windows, 3); }, ExitCode::kBadFile,
                    "b.bin: byte 12: a token id must be below the vocabulary size 10 and not "
                    "negative, found 10");
  const TokenWindows wider({folder.path("a"), folder.path("b")}, 2, 11);
  expect_exit_error([&] { window(wider, 3); }, ExitCode::kBadFile, "b.bin: byte 16: a token id");
}

TEST(TokenWindowsTest, TheLargestIdOfTheTypeIsNotWrapped) {
  TemporaryFolder folder;
  write_dataset(folder.path("x"), {{0, INT64_MAX}}, TokenType::kInt64);
  const TokenWindows windows({folder.path("x")}, 1, 257);
  expect_exit_error([&] { window(windows, 0); }, ExitCode::kBadFile, "found 9223372036854775807");
}

TEST(TokenWindowsTest, WrongIndicesAndSizesAreMistakesOfTheCaller) {
  TemporaryFolder folder;
  write_dataset(folder.path("x"), {{1, 2, 3}});
  const TokenWindows windows({folder.path("x")}, 1, 10);
  std::vector<int64_t> tokens(2);
  EXPECT_THROW(windows.read(2, tokens), std::out_of_range);
  EXPECT_THROW(windows.read(-1, tokens), std::out_of_range);
  tokens.resize(3);
  EXPECT_THROW(windows.read(0, tokens), std::out_of_range);
  EXPECT_THROW(TokenWindows({folder.path("x")}, 0, 10), std::invalid_argument);
}

TEST(TokenWindowsTest, FingerprintDependsOnContentsAndOrderNotOnPaths) {
  TemporaryFolder folder;
  write_dataset(folder.path("a"), {{1, 2, 3}});
  write_dataset(folder.path("b"), {{4, 5, 6}});
  write_dataset(folder.path("moved/a"), {{1, 2, 3}});
  const auto fingerprint = [&](const std::vector<std::string>& names) {
    std::vector<std::string> prefixes;
    for (const auto& name : names) {
      prefixes.push_back(folder.path(name));
    }
    return TokenWindows(prefixes, 1, 10).fingerprint();
  };
  const auto of_a = fingerprint({"a"});
  EXPECT_EQ(of_a.size(), 32u);
  EXPECT_EQ(of_a, fingerprint({"moved/a"}));
  EXPECT_NE(of_a, fingerprint({"b"})) << "same sizes, other tokens";
  EXPECT_NE(of_a, fingerprint({"a", "a"}));
  EXPECT_NE(fingerprint({"a", "b"}), fingerprint({"b", "a"}));
  write_dataset(folder.path("a"), {{1, 2}, {3}});
  EXPECT_NE(of_a, fingerprint({"a"})) << "same tokens, other documents";
}

TEST(TokenWindowsTest, FingerprintSeesTheLastBlockOfALargeFile) {
  TemporaryFolder folder;
  std::vector<int64_t> tokens(1'000'000, 7);
  write_dataset(folder.path("x"), {tokens});
  const auto before = TokenWindows({folder.path("x")}, 8, 10).fingerprint();
  tokens.back() = 8;
  write_dataset(folder.path("x"), {tokens});
  EXPECT_NE(before, TokenWindows({folder.path("x")}, 8, 10).fingerprint());
}

}  // namespace
}  // namespace moesaic::trainer
