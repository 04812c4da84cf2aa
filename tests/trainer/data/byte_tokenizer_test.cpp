#include "trainer/data/byte_tokenizer.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>

namespace moesaic::trainer {
namespace {

TEST(ByteTokenizerTest, EveryByteIsItsOwnToken) {
  std::string bytes;
  for (int byte = 0; byte < 256; ++byte) {
    bytes += static_cast<char>(byte);
  }
  const auto ids = encode_bytes(bytes);
  ASSERT_EQ(ids.size(), 256u);
  for (int64_t byte = 0; byte < 256; ++byte) {
    EXPECT_EQ(ids[static_cast<size_t>(byte)], byte);
  }
  EXPECT_EQ(decode_bytes(ids), bytes) << "invalid UTF-8 stays bytes";
}

TEST(ByteTokenizerTest, TheEndTokenAndPaddedIdsDecodeToNothing) {
  EXPECT_EQ(decode_bytes(std::vector<int64_t>{'a', kByteEndToken, 'b', 300, -1, 'c'}), "abc");
  EXPECT_EQ(encode_bytes("<|endoftext|>").size(), 13u) << "text never becomes the end token";
}

TEST(ByteTokenizerTest, TokenizerJsonIsByteLevelBpeWithoutMerges) {
  const auto text = byte_tokenizer_json();
  for (const char c : text) {
    ASSERT_LT(static_cast<unsigned char>(c), 0x80) << "ASCII only";
  }
  const auto json = nlohmann::json::parse(text);
  EXPECT_EQ(json["version"], "1.0");
  EXPECT_TRUE(json["normalizer"].is_null());
  EXPECT_TRUE(json["post_processor"].is_null());
  for (const char* part : {"pre_tokenizer", "decoder"}) {
    EXPECT_EQ(json[part]["type"], "ByteLevel");
    EXPECT_EQ(json[part]["use_regex"], false);
    EXPECT_EQ(json[part]["add_prefix_space"], false);
  }
  EXPECT_EQ(json["model"]["type"], "BPE");
  EXPECT_TRUE(json["model"]["merges"].empty());
  ASSERT_EQ(json["added_tokens"].size(), 1u);
  EXPECT_EQ(json["added_tokens"][0]["id"], 256);
  EXPECT_EQ(json["added_tokens"][0]["content"], "<|endoftext|>");
  EXPECT_EQ(json["added_tokens"][0]["special"], true);
}

// The alphabet of GPT-2's byte-level BPE: some letters of it, and every id once.
TEST(ByteTokenizerTest, TheVocabularyIsTheByteLevelAlphabet) {
  const auto vocabulary = nlohmann::json::parse(byte_tokenizer_json())["model"]["vocab"];
  ASSERT_EQ(vocabulary.size(), 256u);
  EXPECT_EQ(vocabulary["A"], 65);
  EXPECT_EQ(vocabulary["~"], 126);
  EXPECT_EQ(vocabulary["\u0100"], 0);
  EXPECT_EQ(vocabulary["\u010A"], 10) << "line feed";
  EXPECT_EQ(vocabulary["\u0120"], 32) << "space";
  EXPECT_EQ(vocabulary["\u0121"], 127);
  EXPECT_EQ(vocabulary["\u0142"], 160);
  EXPECT_EQ(vocabulary["\u0143"], 173);
  EXPECT_EQ(vocabulary["\u00A1"], 161);
  EXPECT_EQ(vocabulary["\u00FF"], 255);
  std::set<int64_t> ids;
  for (const auto& [symbol, id] : vocabulary.items()) {
    ids.insert(id.get<int64_t>());
  }
  EXPECT_EQ(ids.size(), 256u);
  EXPECT_EQ(*ids.begin(), 0);
  EXPECT_EQ(*ids.rbegin(), 255);
}

TEST(ByteTokenizerTest, TokenizerConfigNamesClassAndSpecialTokens) {
  const auto json = nlohmann::json::parse(byte_tokenizer_config_json(512));
  EXPECT_EQ(json["tokenizer_class"], "PreTrainedTokenizerFast");
  EXPECT_EQ(json["eos_token"], "<|endoftext|>");
  EXPECT_EQ(json["model_max_length"], 512);
  EXPECT_EQ(json["clean_up_tokenization_spaces"], false);
}

}  // namespace
}  // namespace moesaic::trainer
