#include "trainer/data/byte_tokenizer.h"

#include <nlohmann/json.hpp>

namespace moesaic::trainer {

namespace {

using Json = nlohmann::ordered_json;

// The code point that stands for a byte in byte-level BPE: printable Latin-1 stands for itself, the
// other 68 bytes are numbered from U+0100 on.
int code_point_of_byte(int byte) {
  const auto is_printable = [](int b) {
    return (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || (b >= 0xAE && b <= 0xFF);
  };
  if (is_printable(byte)) {
    return byte;
  }
  int code_point = 0x100;
  for (int b = 0; b < byte; ++b) {
    code_point += is_printable(b) ? 0 : 1;
  }
  return code_point;
}

// UTF-8 of a code point below U+0800.
std::string utf8(int code_point) {
  if (code_point < 0x80) {
    return {static_cast<char>(code_point)};
  }
  return {static_cast<char>(0xC0 | (code_point >> 6)), static_cast<char>(0x80 | (code_point & 63))};
}

Json byte_level() {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", false},
          {"trim_offsets", false},
          {"use_regex", false}};
}

// ASCII only (other characters as \uXXXX), two spaces of indent, a line feed at the end.
std::string text_of(const Json& json) {
  return json.dump(/*indent=*/2, /*indent_char=*/' ', /*ensure_ascii=*/true) + "\n";
}

}  // namespace

std::vector<int64_t> encode_bytes(std::string_view text) {
  std::vector<int64_t> ids;
  ids.reserve(text.size());
  for (const char c : text) {
    ids.push_back(static_cast<unsigned char>(c));
  }
  return ids;
}

std::string decode_bytes(std::span<const int64_t> ids) {
  std::string text;
  for (const int64_t id : ids) {
    if (id >= 0 && id < kByteEndToken) {
      text += static_cast<char>(id);
    }
  }
  return text;
}

std::string byte_tokenizer_json() {
  Json vocabulary = Json::object();
  for (int byte = 0; byte < 256; ++byte) {
    vocabulary[utf8(code_point_of_byte(byte))] = byte;
  }
  const Json end_token = {{"id", kByteEndToken},  {"content", kByteEndTokenText},
                          {"single_word", false}, {"lstrip", false},
                          {"rstrip", false},      {"normalized", false},
                          {"special", true}};
  const Json model = {{"type", "BPE"},
                      {"dropout", nullptr},
                      {"unk_token", nullptr},
                      {"continuing_subword_prefix", nullptr},
                      {"end_of_word_suffix", nullptr},
                      {"fuse_unk", false},
                      {"byte_fallback", false},
                      {"ignore_merges", false},
                      {"vocab", vocabulary},
                      {"merges", Json::array()}};
  return text_of({{"version", "1.0"},
                  {"truncation", nullptr},
                  {"padding", nullptr},
                  {"added_tokens", Json::array({end_token})},
                  {"normalizer", nullptr},
                  {"pre_tokenizer", byte_level()},
                  {"post_processor", nullptr},
                  {"decoder", byte_level()},
                  {"model", model}});
}

std::string byte_tokenizer_config_json(int64_t model_max_length) {
  return text_of({{"tokenizer_class", "PreTrainedTokenizerFast"},
                  {"eos_token", kByteEndTokenText},
                  {"pad_token", kByteEndTokenText},
                  {"clean_up_tokenization_spaces", false},
                  {"model_max_length", model_max_length}});
}

}  // namespace moesaic::trainer
