#include "trainer/data/indexed_dataset_writer.h"

#include <set>

#include "tests/trainer/data/dataset_files.h"

namespace moesaic::trainer {
namespace {

std::set<std::string> names_in(const std::string& folder) {
  std::set<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    names.insert(entry.path().filename().string());
  }
  return names;
}

// What IndexedDatasetBuilder of Megatron-Core writes for add_document([1, 2, 256], [3]),
// add_document([], [0]), add_document([65535], [1]) with dtype uint16, byte by byte.
TEST(IndexedDatasetWriterTest, WritesTheBytesOfMegatron) {
  TemporaryFolder folder;
  write_dataset(folder.path("x"), {{1, 2, 256}, {}, {65535}});
  const unsigned char index[] = {
      'M', 'M', 'I', 'D', 'I', 'D', 'X', 0, 0,                       // magic
      1,   0,   0,   0,   0,   0,   0,   0,                          // version
      8,                                                             // uint16
      3,   0,   0,   0,   0,   0,   0,   0,                          // sequences
      4,   0,   0,   0,   0,   0,   0,   0,                          // document indices
      3,   0,   0,   0,   0,   0,   0,   0, 1, 0, 0, 0,              // lengths
      0,   0,   0,   0,   0,   0,   0,   0, 6, 0, 0, 0, 0, 0, 0, 0,  // pointers
      6,   0,   0,   0,   0,   0,   0,   0,                          //
      0,   0,   0,   0,   0,   0,   0,   0, 1, 0, 0, 0, 0, 0, 0, 0,  // documents
      2,   0,   0,   0,   0,   0,   0,   0, 3, 0, 0, 0, 0, 0, 0, 0};
  const unsigned char tokens[] = {1, 0, 2, 0, 0, 1, 0xFF, 0xFF};
  EXPECT_EQ(read_bytes(folder.path("x.idx")), std::string(std::begin(index), std::end(index)));
  EXPECT_EQ(read_bytes(folder.path("x.bin")), std::string(std::begin(tokens), std::end(tokens)));
}

TEST(IndexedDatasetWriterTest, MakesItsFolderAndLeavesNoTemporaryFile) {
  TemporaryFolder folder;
  write_dataset(folder.path("a/b/x"), {{1}});
  EXPECT_EQ(names_in(folder.path("a/b")), (std::set<std::string>{"x.bin", "x.idx"}));
}

TEST(IndexedDatasetWriterTest, WithoutFinishTheOldDataSetStays) {
  TemporaryFolder folder;
  write_dataset(folder.path("x"), {{1, 2, 3}});
  const auto index = read_bytes(folder.path("x.idx"));
  const auto tokens = read_bytes(folder.path("x.bin"));
  {
    IndexedDatasetWriter writer(folder.path("x"), TokenType::kInt32);
    writer.add_tokens(std::vector<int64_t>{4, 5});
    writer.end_document();
    EXPECT_EQ(names_in(folder.path("")).size(), 3u);
  }
  EXPECT_EQ(names_in(folder.path("")), (std::set<std::string>{"x.bin", "x.idx"}));
  EXPECT_EQ(read_bytes(folder.path("x.idx")), index);
  EXPECT_EQ(read_bytes(folder.path("x.bin")), tokens);
}

TEST(IndexedDatasetWriterTest, CountsWhatItHolds) {
  TemporaryFolder folder;
  IndexedDatasetWriter writer(folder.path("x"), TokenType::kUInt8);
  writer.add_tokens(std::vector<int64_t>{4, 5});
  writer.add_tokens(std::vector<int64_t>{6});
  writer.end_document();
  writer.end_document();
  EXPECT_EQ(writer.num_tokens(), 3);
  EXPECT_EQ(writer.num_documents(), 2);
}

TEST(IndexedDatasetWriterTest, RefusesATokenThatDoesNotFitTheType) {
  TemporaryFolder folder;
  IndexedDatasetWriter writer(folder.path("x"), TokenType::kUInt16);
  expect_exit_error([&] { writer.add_tokens(std::vector<int64_t>{65536}); }, ExitCode::kBadFile,
                    "token 65536 does not fit uint16");
  expect_exit_error([&] { writer.add_tokens(std::vector<int64_t>{-1}); }, ExitCode::kBadFile,
                    "token -1 does not fit uint16");
}

TEST(IndexedDatasetWriterTest, FinishWithinADocumentIsAMistakeOfTheCaller) {
  TemporaryFolder folder;
  IndexedDatasetWriter writer(folder.path("x"), TokenType::kUInt16);
  writer.add_tokens(std::vector<int64_t>{1});
  EXPECT_THROW(writer.finish(), std::logic_error);
}

TEST(IndexedDatasetWriterTest, APlaceThatCannotBeWrittenIsAStorageError) {
  TemporaryFolder folder;
  write_bytes(folder.path("file"), "x");
  expect_exit_error([&] { write_dataset(folder.path("file/x"), {{1}}); }, ExitCode::kStorage,
                    "file: cannot be created");
}

TEST(IndexedDatasetWriterTest, AFullDiskIsAStorageError) {
  ASSERT_TRUE(std::filesystem::exists("/dev/full"));
  TemporaryFolder folder;
  const auto temporary = folder.path("x.bin.tmp-" + std::to_string(::getpid()));
  std::filesystem::create_symlink("/dev/full", temporary);
  expect_exit_error([&] { write_dataset(folder.path("x"), {{1}}); }, ExitCode::kStorage,
                    "cannot be written: No space left on device");
  EXPECT_TRUE(names_in(folder.path("")).empty());
}

TEST(TokenTypeTest, FollowsMegatronsChoiceForAVocabulary) {
  EXPECT_EQ(token_type_of_vocabulary(257), TokenType::kUInt16);
  EXPECT_EQ(token_type_of_vocabulary(65499), TokenType::kUInt16);
  EXPECT_EQ(token_type_of_vocabulary(65500), TokenType::kInt32);
}

}  // namespace
}  // namespace moesaic::trainer
