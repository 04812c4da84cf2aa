// The JSON of a safetensors header as a stream of events: no document tree is ever built, so a
// hostile header costs no more than its own bytes. Types and nesting are judged here; sizes and
// positions in safetensors.cpp.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "trainer/checkpoint/tensor_type.h"

namespace moesaic::trainer {

/// One entry as the JSON says it, nothing compared yet.
struct HeaderEntry {
  std::string name;
  TensorType type{};
  std::vector<uint64_t> shape;
  std::vector<uint64_t> offsets;
};

/// nlohmann SAX handler. After sax_parse returned false, `problem()` is the rule that was broken.
class HeaderHandler {
 public:
  using Json = nlohmann::json;
  bool null();
  bool boolean(bool value);
  bool number_integer(Json::number_integer_t value);
  bool number_unsigned(Json::number_unsigned_t value);
  bool number_float(Json::number_float_t value, const std::string& text);
  bool string(std::string& value);
  bool binary(Json::binary_t& value);
  bool start_object(size_t num_elements);
  bool key(std::string& value);
  bool end_object();
  bool start_array(size_t num_elements);
  bool end_array();
  bool parse_error(size_t position, const std::string& token,
                   const nlohmann::detail::exception& error);

  const std::string& problem() const { return problem_; }
  std::vector<HeaderEntry>& entries() { return entries_; }

 private:
  enum class State { kStart, kTop, kMetadata, kTensor, kShape, kOffsets, kDone };
  enum class Field { kNone, kType, kShape, kOffsets, kUnknown };

  bool fail(const std::string& problem);
  bool scalar(const char* what);
  bool open_unknown();
  bool close_unknown();
  bool inside_unknown() const { return unknown_depth_ > 0; }
  bool tensor_key(const std::string& value);
  bool finish_tensor();
  std::string here() const;

  State state_ = State::kStart;
  Field field_ = Field::kNone;
  bool metadata_is_next_ = false;
  bool has_metadata_ = false;
  std::vector<std::string> metadata_keys_;
  bool has_type_ = false;
  bool has_shape_ = false;
  bool has_offsets_ = false;
  int unknown_depth_ = 0;
  std::string problem_;
  std::vector<HeaderEntry> entries_;
};

}  // namespace moesaic::trainer
