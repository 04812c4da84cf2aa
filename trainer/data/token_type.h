// How a token id lies in a Megatron .bin file: the dtype codes of the .idx header.
// Only the integer codes are token types; 6 (float64) and 7 (float32) exist in the format alone.
#pragma once

#include <cstdint>

namespace moesaic::trainer {

enum class TokenType : uint8_t {
  kUInt8 = 1,
  kInt8 = 2,
  kInt16 = 3,
  kInt32 = 4,
  kInt64 = 5,
  kUInt16 = 8,
};

/// Whether a dtype code of an .idx header is a token type.
constexpr bool is_token_type(uint8_t code) {
  return (code >= 1 && code <= 5) || code == 8;
}

/// Bytes a token.
constexpr int64_t token_bytes(TokenType type) {
  switch (type) {
    case TokenType::kUInt8:
    case TokenType::kInt8:
      return 1;
    case TokenType::kInt16:
    case TokenType::kUInt16:
      return 2;
    case TokenType::kInt32:
      return 4;
    case TokenType::kInt64:
      return 8;
  }
  return 0;
}

/// NumPy's name of the type: "uint16".
constexpr const char* token_type_name(TokenType type) {
  switch (type) {
    case TokenType::kUInt8:
      return "uint8";
    case TokenType::kInt8:
      return "int8";
    case TokenType::kInt16:
      return "int16";
    case TokenType::kInt32:
      return "int32";
    case TokenType::kInt64:
      return "int64";
    case TokenType::kUInt16:
      return "uint16";
  }
  return "unknown";
}

/// The smallest and largest id that the type holds.
constexpr int64_t min_token(TokenType type) {
  switch (type) {
    case TokenType::kInt8:
      return INT8_MIN;
    case TokenType::kInt16:
      return INT16_MIN;
    case TokenType::kInt32:
      return INT32_MIN;
    case TokenType::kInt64:
      return INT64_MIN;
    default:
      return 0;
  }
}

constexpr int64_t max_token(TokenType type) {
  switch (type) {
    case TokenType::kUInt8:
      return UINT8_MAX;
    case TokenType::kInt8:
      return INT8_MAX;
    case TokenType::kInt16:
      return INT16_MAX;
    case TokenType::kInt32:
      return INT32_MAX;
    case TokenType::kInt64:
      return INT64_MAX;
    case TokenType::kUInt16:
      return UINT16_MAX;
  }
  return 0;
}

/// The type that Megatron chooses for a vocabulary: uint16 below 65500 ids, else int32.
constexpr TokenType token_type_of_vocabulary(int64_t vocab_size) {
  return vocab_size < 65500 ? TokenType::kUInt16 : TokenType::kInt32;
}

}  // namespace moesaic::trainer
