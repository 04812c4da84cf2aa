// Options in words: the same phrase stands in `config --docs` and in error messages.
#pragma once

#include "trainer/config/option_traits.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace moesaic::trainer {

/// " >= 1", " > 0 and <= 1", or "".
std::string range_text(const OptionTraits& traits);

inline std::string type_text(const bool*, const OptionTraits&) {
  return "true or false";
}
inline std::string type_text(const int64_t*, const OptionTraits& traits) {
  return "a whole number" + range_text(traits);
}
inline std::string type_text(const double*, const OptionTraits& traits) {
  return "a number" + range_text(traits);
}
inline std::string type_text(const std::string*, const OptionTraits&) {
  return "a string";
}

template <typename T>
std::string type_text(const std::optional<T>*, const OptionTraits& traits) {
  return type_text(static_cast<const T*>(nullptr), traits) + ", or null";
}

template <typename T>
std::string type_text(const std::vector<T>*, const OptionTraits& traits) {
  auto element = type_text(static_cast<const T*>(nullptr), traits);
  if (traits.one_or_many) {
    return element + ", a list of them, or null";
  }
  return "a list" + (traits.length ? " of " + std::to_string(*traits.length) : std::string()) +
         ", each " + element;
}

/// What a value of this type may be: "a whole number >= 1, or null".
template <typename T>
std::string type_text(const OptionTraits& traits) {
  return type_text(static_cast<const T*>(nullptr), traits);
}

/// "one of position, probability".
std::string choice_text(const std::vector<std::string>& names);

}  // namespace moesaic::trainer
