// The built-in tokenizer: byte b is token b, and token 256 ends a document.
//
// Needs no vocabulary file, so a bare machine can train, and is written out as a real Hugging Face
// tokenizer: byte-level BPE (Radford et al. 2019, section 2.2) without merges.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace moesaic::trainer {

inline constexpr int64_t kByteEndToken = 256;
inline constexpr int64_t kByteVocabSize = 257;
inline constexpr std::string_view kByteEndTokenText = "<|endoftext|>";

/// The bytes of `text` as ids. Any bytes, valid UTF-8 or not. Text that spells "<|endoftext|>"
/// stays text: unlike `tokenizers`, which reads it as the end token, as it does for every special
/// token.
std::vector<int64_t> encode_bytes(std::string_view text);

/// The bytes of the ids; invalid UTF-8 stays as it is. The end token and ids of a padded vocabulary
/// (above 256) give nothing, as in transformers with skip_special_tokens.
std::string decode_bytes(std::span<const int64_t> ids);

/// The contents of tokenizer.json: `tokenizers` encodes any text to the ids of encode_bytes.
std::string byte_tokenizer_json();

/// The contents of tokenizer_config.json, for AutoTokenizer. model_max_length: positions.
std::string byte_tokenizer_config_json(int64_t model_max_length);

}  // namespace moesaic::trainer
