#include "trainer/checkpoint/safetensors_header.h"

#include "trainer/checkpoint/file_operations.h"
#include "trainer/checkpoint/safetensors.h"

namespace moesaic::trainer {
namespace {

// The reference stops at 128 levels; two of them are the header and the tensor.
constexpr int kMaxUnknownDepth = 125;

}  // namespace

bool HeaderHandler::fail(const std::string& problem) {
  problem_ = problem;
  return false;
}

std::string HeaderHandler::here() const {
  if (state_ == State::kMetadata || metadata_is_next_)
    return "__metadata__";
  return entries_.empty() ? "the header" : "tensor " + printable(entries_.back().name);
}

// A value that is neither an object nor an array and has no place of its own below.
bool HeaderHandler::scalar(const char* what) {
  if (inside_unknown())
    return true;
  switch (state_) {
    case State::kMetadata:
      return fail("__metadata__ must map strings to strings, it holds " + std::string(what));
    case State::kShape:
      return fail(here() + ": shape must hold unsigned integers, it holds " + what);
    case State::kOffsets:
      return fail(here() + ": data_offsets must be two unsigned integers, it holds " + what);
    case State::kTensor:
      if (field_ == Field::kUnknown)
        return true;
      return fail(here() + ": dtype, shape or data_offsets is " + what);
    default:
      return fail(here() + ": expected an object, found " + what);
  }
}

bool HeaderHandler::null() {
  if (state_ == State::kTop && metadata_is_next_) {
    metadata_is_next_ = false;
    return true;
  }
  return scalar("null");
}

bool HeaderHandler::boolean(bool) {
  return scalar("a boolean");
}
bool HeaderHandler::number_integer(Json::number_integer_t) {
  return scalar("a negative number");
}
bool HeaderHandler::number_float(Json::number_float_t, const std::string&) {
  return scalar("a number that is not an unsigned 64-bit integer");
}
bool HeaderHandler::binary(Json::binary_t&) {
  return scalar("binary data");
}

bool HeaderHandler::number_unsigned(Json::number_unsigned_t value) {
  if (inside_unknown())
    return true;
  if (state_ == State::kShape) {
    auto& shape = entries_.back().shape;
    if (shape.size() == kMaxSafetensorsDims) {
      return fail(here() + ": more than " + std::to_string(kMaxSafetensorsDims) + " dimensions");
    }
    shape.push_back(value);
    return true;
  }
  if (state_ == State::kOffsets) {
    auto& offsets = entries_.back().offsets;
    if (offsets.size() == 2)
      return fail(here() + ": data_offsets has more than two entries");
    offsets.push_back(value);
    return true;
  }
  return scalar("a number");
}

bool HeaderHandler::string(std::string& value) {
  if (inside_unknown() || state_ == State::kMetadata)
    return true;
  if (state_ == State::kTensor && field_ == Field::kType) {
    const auto type = find_tensor_type(value);
    if (!type)
      return fail(here() + ": unknown dtype " + printable(value));
    entries_.back().type = *type;
    return true;
  }
  return scalar("a string");
}

bool HeaderHandler::open_unknown() {
  if (++unknown_depth_ > kMaxUnknownDepth)
    return fail(here() + ": nested too deeply");
  return true;
}

bool HeaderHandler::close_unknown() {
  --unknown_depth_;
  return true;
}

bool HeaderHandler::start_object(size_t) {
  if (inside_unknown())
    return open_unknown();
  if (state_ == State::kStart) {
    state_ = State::kTop;
    return true;
  }
  if (state_ == State::kTop) {
    state_ = metadata_is_next_ ? State::kMetadata : State::kTensor;
    metadata_is_next_ = false;
    field_ = Field::kNone;
    return true;
  }
  if (state_ == State::kTensor && field_ == Field::kUnknown)
    return open_unknown();
  return scalar("an object");
}

bool HeaderHandler::start_array(size_t) {
  if (inside_unknown())
    return open_unknown();
  if (state_ == State::kTensor) {
    if (field_ == Field::kUnknown)
      return open_unknown();
    if (field_ == Field::kShape || field_ == Field::kOffsets) {
      state_ = field_ == Field::kShape ? State::kShape : State::kOffsets;
      return true;
    }
  }
  return scalar("a list");
}

bool HeaderHandler::key(std::string& value) {
  if (inside_unknown())
    return true;
  if (state_ == State::kMetadata) {
    for (const auto& known : metadata_keys_) {
      if (known == value)
        return fail("__metadata__ has the key " + printable(value) + " twice");
    }
    // Compared one by one: a thousand keys is far beyond any writer.
    if (metadata_keys_.size() == 1000)
      return fail("__metadata__ has more than 1000 keys");
    metadata_keys_.push_back(value);
    return true;
  }
  if (state_ == State::kTensor)
    return tensor_key(value);
  if (value == "__metadata__") {
    if (has_metadata_)
      return fail("__metadata__ appears twice");
    has_metadata_ = metadata_is_next_ = true;
    return true;
  }
  if (!is_tensor_name(value)) {
    return fail("tensor name " + printable(value) +
                " is not 1 to 512 of the characters A-Z a-z 0-9 _ . - / without '..'");
  }
  if (entries_.size() == static_cast<size_t>(kMaxSafetensorsTensors)) {
    return fail("more than " + std::to_string(kMaxSafetensorsTensors) + " tensors");
  }
  entries_.emplace_back().name = value;
  has_type_ = has_shape_ = has_offsets_ = false;
  return true;
}

bool HeaderHandler::tensor_key(const std::string& value) {
  bool* seen = nullptr;
  field_ = Field::kUnknown;
  if (value == "dtype") {
    field_ = Field::kType;
    seen = &has_type_;
  } else if (value == "shape") {
    field_ = Field::kShape;
    seen = &has_shape_;
  } else if (value == "data_offsets") {
    field_ = Field::kOffsets;
    seen = &has_offsets_;
  }
  if (seen == nullptr)
    return true;
  if (*seen)
    return fail(here() + ": " + value + " appears twice");
  *seen = true;
  return true;
}

bool HeaderHandler::end_object() {
  if (inside_unknown())
    return close_unknown();
  if (state_ == State::kTensor)
    return finish_tensor();
  state_ = state_ == State::kMetadata ? State::kTop : State::kDone;
  return true;
}

bool HeaderHandler::finish_tensor() {
  if (!has_type_ || !has_shape_ || !has_offsets_) {
    const char* missing = !has_type_ ? "dtype" : !has_shape_ ? "shape" : "data_offsets";
    return fail(here() + ": " + missing + " is missing");
  }
  state_ = State::kTop;
  return true;
}

bool HeaderHandler::end_array() {
  if (inside_unknown())
    return close_unknown();
  if (state_ == State::kOffsets && entries_.back().offsets.size() != 2) {
    return fail(here() + ": data_offsets must be two unsigned integers");
  }
  state_ = State::kTensor;
  return true;
}

bool HeaderHandler::parse_error(size_t position, const std::string&,
                                const nlohmann::detail::exception& error) {
  // The library's text ends with a copy of the offending bytes.
  const std::string text = error.what();
  return fail("the header is not valid JSON at byte " + std::to_string(position) + ": " +
              printable(text.substr(text.find("] ") + 2)));
}

}  // namespace moesaic::trainer
