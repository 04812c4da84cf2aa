#include "trainer/config/option_text.h"

#include "trainer/config/scalar.h"

namespace moesaic::trainer {
namespace {

std::string limit_text(double limit) {
  auto text = number_text(limit);
  bool whole = text.size() > 2 && text.substr(text.size() - 2) == ".0";
  return whole ? text.substr(0, text.size() - 2) : text;
}

}  // namespace

std::string range_text(const OptionTraits& traits) {
  std::string text;
  auto append = [&](const char* sign, const std::optional<double>& limit) {
    if (limit) {
      text += (text.empty() ? " " : " and ") + std::string(sign) + " " + limit_text(*limit);
    }
  };
  append(">=", traits.minimum);
  append(">", traits.above);
  append("<=", traits.maximum);
  append("<", traits.below);
  return text;
}

std::string choice_text(const std::vector<std::string>& names) {
  std::string text = "one of ";
  for (const auto& name : names) {
    text += (&name == &names.front() ? "" : ", ") + name;
  }
  return text;
}

}  // namespace moesaic::trainer
