#include "trainer/data/indexed_dataset.h"

#include <functional>

#include "tests/trainer/data/dataset_files.h"

namespace moesaic::trainer {
namespace {

using testing::TestWithParam;

// Three documents of 3, 0 and 2 tokens, written by hand: header at 0, lengths at 34, pointers at
// 46, document indices at 70, end at 102.
struct Files {
  std::string index = std::string("MMIDIDX\0\0", 9) + bytes_of<uint64_t>(1) + bytes_of<uint8_t>(8) +
                      bytes_of<uint64_t>(3) + bytes_of<uint64_t>(4) + bytes_of<int32_t>(3) +
                      bytes_of<int32_t>(0) + bytes_of<int32_t>(2) + bytes_of<int64_t>(0) +
                      bytes_of<int64_t>(6) + bytes_of<int64_t>(6) + bytes_of<int64_t>(0) +
                      bytes_of<int64_t>(1) + bytes_of<int64_t>(2) + bytes_of<int64_t>(3);
  std::string tokens = bytes_of<uint16_t>(5) + bytes_of<uint16_t>(65535) + bytes_of<uint16_t>(256) +
                       bytes_of<uint16_t>(7) + bytes_of<uint16_t>(8);

  template <typename Number>
  void put(size_t offset, Number number) {
    index.replace(offset, sizeof(number), bytes_of(number));
  }
  void write(const std::string& prefix) const {
    write_bytes(prefix + ".idx", index);
    write_bytes(prefix + ".bin", tokens);
  }
};

std::vector<int64_t> all_tokens(const IndexedDataset& dataset) {
  std::vector<int64_t> tokens(static_cast<size_t>(dataset.num_tokens()));
  dataset.read_tokens(0, tokens);
  return tokens;
}

TEST(IndexedDatasetTest, ReadsAHandWrittenDataSet) {
  TemporaryFolder folder;
  Files().write(folder.path("x"));
  const IndexedDataset dataset(folder.path("x"));
  EXPECT_EQ(dataset.token_type(), TokenType::kUInt16);
  EXPECT_EQ(dataset.num_sequences(), 3);
  EXPECT_EQ(dataset.num_documents(), 3);
  EXPECT_EQ(all_tokens(dataset), (std::vector<int64_t>{5, 65535, 256, 7, 8}));
  std::vector<int64_t> inner(2);
  dataset.read_tokens(2, inner);
  EXPECT_EQ(inner, (std::vector<int64_t>{256, 7}));
  EXPECT_EQ(dataset.document(1).count, 0);
  EXPECT_EQ(dataset.document(2).first, 3);
  EXPECT_EQ(dataset.document(2).count, 2);
}

TEST(IndexedDatasetTest, AcceptsModesOfTextAndDocumentsOfSeveralSequences) {
  TemporaryFolder folder;
  Files files;
  files.put<uint64_t>(26, 3);
  files.index.erase(78, 8);  // document indices 0, 2, 3
  files.index += std::string(3, '\0');
  files.write(folder.path("x"));
  const IndexedDataset dataset(folder.path("x"));
  EXPECT_EQ(dataset.num_documents(), 2);
  EXPECT_EQ(dataset.document(0).count, 3);
  EXPECT_EQ(dataset.document(1).first, 3);
}

TEST(IndexedDatasetTest, ReadsEveryTokenType) {
  TemporaryFolder folder;
  for (const auto type : {TokenType::kUInt8, TokenType::kInt8, TokenType::kInt16, TokenType::kInt32,
                          TokenType::kInt64, TokenType::kUInt16}) {
    const std::vector<int64_t> tokens{min_token(type), 0, 1, 100, max_token(type)};
    write_dataset(folder.path("x"), {tokens}, type);
    EXPECT_EQ(all_tokens(IndexedDataset(folder.path("x"))), tokens) << token_type_name(type);
  }
}

TEST(IndexedDatasetTest, ReadsMoreThanOneChunk) {
  TemporaryFolder folder;
  std::vector<std::vector<int64_t>> documents;  // more documents and tokens than one read takes
  for (int64_t i = 0; i < 70'000; ++i) {
    documents.push_back({i % 1000, i / 1000});
  }
  write_dataset(folder.path("x"), documents);
  const IndexedDataset dataset(folder.path("x"));
  EXPECT_EQ(dataset.num_documents(), 70'000);
  const auto tokens = all_tokens(dataset);
  for (size_t i = 0; i < documents.size(); ++i) {
    ASSERT_EQ(tokens[2 * i], documents[i][0]);
    ASSERT_EQ(tokens[2 * i + 1], documents[i][1]);
  }
}

TEST(IndexedDatasetTest, AnEmptyDataSetIsValid) {
  TemporaryFolder folder;
  write_dataset(folder.path("x"), {});
  EXPECT_EQ(IndexedDataset(folder.path("x")).num_tokens(), 0);
}

TEST(IndexedDatasetTest, MissingFilesAreNoInput) {
  TemporaryFolder folder;
  const auto open = [&](const std::string& name) { IndexedDataset{folder.path(name)}; };
  expect_exit_error([&] { open("x"); }, ExitCode::kNoInput, "x.idx: cannot be opened");
  Files().write(folder.path("x"));
  expect_exit_error([&] { open("x.bin"); }, ExitCode::kNoInput, "without .bin or .idx");
  std::filesystem::remove(folder.path("x.bin"));
  expect_exit_error([&] { open("x"); }, ExitCode::kNoInput, "x.bin: cannot be opened");
  std::filesystem::create_directory(folder.path("x.bin"));
  expect_exit_error([&] { open("x"); }, ExitCode::kBadFile, "x.bin: must be a regular file");
}

TEST(IndexedDatasetTest, TokensThatVanishWhileReadingAreAnErrorNotASignal) {
  TemporaryFolder folder;
  Files().write(folder.path("x"));
  const IndexedDataset dataset(folder.path("x"));
  std::filesystem::resize_file(folder.path("x.bin"), 4);
  expect_exit_error([&] { all_tokens(dataset); }, ExitCode::kBadFile,
                    "x.bin: byte 0: must hold 10 bytes here (it had 10 in all when it was opened), "
                    "found 4 before the end of the file");
}

struct Mutation {
  std::string name;
  std::function<void(Files&)> apply;
  std::string fragment;  // of the message, after the folder
};

void PrintTo(const Mutation& mutation, std::ostream* stream) {
  *stream << mutation.name;
}

class IndexedDatasetMutationTest : public TestWithParam<Mutation> {};

TEST_P(IndexedDatasetMutationTest, IsRefusedWithFileByteRuleAndValue) {
  TemporaryFolder folder;
  Files files;
  GetParam().apply(files);
  files.write(folder.path("x"));
  expect_exit_error([&] { IndexedDataset{folder.path("x")}; }, ExitCode::kBadFile,
                    folder.path(GetParam().fragment));
}

INSTANTIATE_TEST_SUITE_P(
    Mutations, IndexedDatasetMutationTest,
    testing::Values(
        Mutation{"EmptyIndex", [](Files& f) { f.index.clear(); },
                 "x.idx: byte 0: the header takes 34 bytes, found 0"},
        Mutation{"HalfAHeader", [](Files& f) { f.index.resize(33); }, "x.idx: byte 0: the header"},
        Mutation{"Magic", [](Files& f) { f.index[3] = 'X'; }, "x.idx: byte 0: a Megatron index"},
        Mutation{"MagicTail", [](Files& f) { f.index[8] = 1; }, "x.idx: byte 0: a Megatron index"},
        Mutation{"OldFormat", [](Files& f) { f.index.replace(0, 8, "TNTIDX\0\0", 8); },
                 "x.idx: byte 0: a Megatron index"},
        Mutation{"Version0", [](Files& f) { f.put<uint64_t>(9, 0); },
                 "x.idx: byte 9: version must be 1, found 0"},
        Mutation{"BigEndianVersion", [](Files& f) { f.put<uint64_t>(9, uint64_t{1} << 56); },
                 "x.idx: byte 9: version must be 1, found 72057594037927936"},
        Mutation{"Type0", [](Files& f) { f.index[17] = 0; },
                 "x.idx: byte 17: dtype must be an integer type"},
        Mutation{"TypeFloat64", [](Files& f) { f.index[17] = 6; },
                 "x.idx: byte 17: dtype must be an integer type (1 uint8, 2 int8, 3 int16, 4 "
                 "int32, 5 int64, 8 uint16), found code 6"},
        Mutation{"TypeFloat32", [](Files& f) { f.index[17] = 7; },
                 "x.idx: byte 17: dtype must be an integer type (1 uint8, 2 int8, 3 int16, 4 "
                 "int32, 5 int64, 8 uint16), found code 7"},
        Mutation{"Type9", [](Files& f) { f.index[17] = 9; },
                 "x.idx: byte 17: dtype must be an integer type (1 uint8, 2 int8, 3 int16, 4 "
                 "int32, 5 int64, 8 uint16), found code 9"},
        Mutation{"WiderType", [](Files& f) { f.index[17] = 4; },
                 "x.idx: byte 54: pointer of sequence 1 must be the bytes of the sequences before "
                 "it, 12, found 6"},
        Mutation{"SequenceCountOverflow", [](Files& f) { f.put<uint64_t>(18, UINT64_MAX); },
                 "x.idx: byte 18: sequence count must fit the file (at most 5), found "
                 "18446744073709551615"},
        Mutation{"SequenceCountWraps",  // 12 n = 2^64 - 4 modulo 2^64
                 [](Files& f) { f.put<uint64_t>(18, 0x5555555555555555); },
                 "x.idx: byte 18: sequence count"},
        Mutation{"OneSequenceMore", [](Files& f) { f.put<uint64_t>(18, 4); },
                 "x.idx: byte 26: document index count must be 1 to 2"},
        Mutation{"OneSequenceLess", [](Files& f) { f.put<uint64_t>(18, 2); },
                 "x.idx: byte 90: the file must end here"},
        Mutation{"NoDocumentIndex", [](Files& f) { f.put<uint64_t>(26, 0); },
                 "x.idx: byte 26: document index count must be 1 to 4"},
        Mutation{"DocumentCountOverflow", [](Files& f) { f.put<uint64_t>(26, uint64_t{1} << 61); },
                 "x.idx: byte 26: document index count"},
        Mutation{"OneDocumentLess", [](Files& f) { f.put<uint64_t>(26, 3); },
                 "x.idx: byte 94: the file must end here, or after one mode byte a sequence, found "
                 "8 more bytes"},
        Mutation{"TruncatedIndex", [](Files& f) { f.index.resize(101); }, "x.idx: byte 26:"},
        Mutation{"TrailingByte", [](Files& f) { f.index += 'x'; },
                 "x.idx: byte 102: the file must end here"},
        Mutation{"NegativeLength", [](Files& f) { f.put<int32_t>(38, -1); },
                 "x.idx: byte 38: length of sequence 1 must be >= 0 and the sum fit 63 bits, "
                 "found -1"},
        Mutation{"LongerSequence", [](Files& f) { f.put<int32_t>(34, 4); },
                 "x.idx: byte 54: pointer of sequence 1"},
        Mutation{"LongerLastSequence", [](Files& f) { f.put<int32_t>(42, 3); },
                 "x.bin: byte 10: must hold exactly the 6 uint16 tokens of its .idx, 12 bytes, "
                 "found 10"},
        Mutation{"FirstPointer", [](Files& f) { f.put<int64_t>(46, 2); },
                 "x.idx: byte 46: pointer of sequence 0"},
        Mutation{"PointerBackwards", [](Files& f) { f.put<int64_t>(62, 4); },
                 "x.idx: byte 62: pointer of sequence 2"},
        Mutation{"NegativePointer", [](Files& f) { f.put<int64_t>(54, -6); },
                 "x.idx: byte 54: pointer of sequence 1 must be the bytes of the sequences before "
                 "it, 6, found -6"},
        Mutation{"FirstDocument", [](Files& f) { f.put<int64_t>(70, 1); },
                 "x.idx: byte 70: the first document index must be 0, found 1"},
        Mutation{"NegativeDocument", [](Files& f) { f.put<int64_t>(78, -1); },
                 "x.idx: byte 78: document indices must not decrease (before: 0), found -1"},
        Mutation{"DecreasingDocuments", [](Files& f) { f.put<int64_t>(78, 3); },
                 "x.idx: byte 86: document indices must not decrease (before: 3), found 2"},
        Mutation{"LastDocument", [](Files& f) { f.put<int64_t>(94, 4); },
                 "x.idx: byte 94: the last document index must be the number of sequences, 3, "
                 "found 4"},
        Mutation{"ModeOfAnImage", [](Files& f) { f.index += std::string("\0\1\0", 3); },
                 "x.idx: byte 103: every sequence must be text, mode 0, found 1"},
        Mutation{"EmptyTokens", [](Files& f) { f.tokens.clear(); }, "x.bin: byte 0: must hold"},
        Mutation{"OddTokens", [](Files& f) { f.tokens.pop_back(); },
                 "x.bin: byte 9: must hold exactly the 5 uint16 tokens of its .idx, 10 bytes, "
                 "found 9"},
        Mutation{"LongerTokens", [](Files& f) { f.tokens += std::string(2, 'x'); },
                 "x.bin: byte 10: must hold exactly"}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace moesaic::trainer
