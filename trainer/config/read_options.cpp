#include "trainer/config/read_options.h"

#include "trainer/config/scalar.h"

namespace moesaic::trainer {
namespace {

/// Nothing to add to the rule: the value does not have the right type at all.
const std::string kWrongType = "-";

bool in_range(double value, const OptionTraits& traits) {
  return (!traits.minimum || value >= *traits.minimum) &&
         (!traits.above || value > *traits.above) &&
         (!traits.maximum || value <= *traits.maximum) && (!traits.below || value < *traits.below);
}

bool is_plain(const ConfigNode& node) {
  return node.is_scalar() && !node.quoted && !node.is_null();
}

/// The shell takes the quotes away, so the text of an override may be a string as it stands.
bool is_override(const ConfigNode& node) {
  return node.origin.rfind("--", 0) == 0;
}

}  // namespace

std::string read_value(const ConfigNode& node, const OptionTraits&, bool& value) {
  return is_plain(node) && parse_boolean(node.text, value).empty() ? "" : kWrongType;
}

std::string read_value(const ConfigNode& node, const OptionTraits& traits, int64_t& value) {
  if (!is_plain(node)) {
    return kWrongType;
  }
  int64_t read = 0;
  if (auto reason = parse_integer(node.text, read); !reason.empty()) {
    return is_string_text(node.text) ? kWrongType : reason;
  }
  if (!in_range(static_cast<double>(read), traits)) {
    return kWrongType;
  }
  value = read;
  return "";
}

std::string read_value(const ConfigNode& node, const OptionTraits& traits, double& value) {
  if (!is_plain(node)) {
    return kWrongType;
  }
  double read = 0;
  if (auto reason = parse_number(node.text, read); !reason.empty()) {
    return is_string_text(node.text) ? kWrongType : reason;
  }
  if (!in_range(read, traits)) {
    return kWrongType;
  }
  value = read;
  return "";
}

std::string read_value(const ConfigNode& node, const OptionTraits&, std::string& value) {
  constexpr size_t kMaxLength = 4096;
  if (!node.is_scalar() || node.is_null()) {
    return kWrongType;
  }
  if (!node.quoted && !is_override(node) && !is_string_text(node.text)) {
    return "needs quotes to be a string";
  }
  if (node.text.empty()) {
    return "is empty";
  }
  if (node.text.size() > kMaxLength) {
    return "is longer than 4096 bytes";
  }
  for (char letter : node.text) {
    if (static_cast<unsigned char>(letter) < 0x20 || letter == 0x7f) {
      return "has a control character";
    }
  }
  value = node.text;
  return "";
}

const ConfigNode* OptionReader::look_up(std::string_view name, const OptionTraits& traits) {
  asked_for_.emplace_back(name);
  const auto* node = node_.find(name);
  if (node != nullptr) {
    state_.origins[key(name)] = node->origin;
  } else if (traits.required && state_.check_required) {
    auto origin = node_.origin.empty() ? state_.origins[""] : node_.origin;
    state_.problems.add(origin, key(name), "is required");
  }
  return node;
}

const ConfigNode& OptionReader::look_up_section(std::string_view name) {
  static const ConfigNode kNothing;
  asked_for_.emplace_back(name);
  const auto* node = node_.find(name);
  if (node == nullptr || node->kind == ConfigNode::Kind::kEmpty) {
    return kNothing;
  }
  if (!node->is_map()) {
    state_.problems.add(node->origin, key(name), "must be a section, is " + describe_value(*node));
    return kNothing;
  }
  return *node;
}

void OptionReader::refuse(std::string_view name, const ConfigNode& node, const std::string& rule,
                          const std::string& reason) {
  bool about_element = reason.rfind("element ", 0) == 0 || reason.rfind("has ", 0) == 0;
  auto message = "must be " + rule + "; ";
  if (node.is_list() && about_element) {
    message += reason;
  } else {
    message += "is " + describe_value(node) + (reason == kWrongType ? "" : ", which " + reason);
  }
  state_.problems.add(node.origin, key(name), message);
}

void OptionReader::refuse_choice(std::string_view name, const ConfigNode& node,
                                 const std::vector<std::string>& known) {
  auto message = "must be " + choice_text(known) + "; is " + describe_value(node);
  auto nearest = node.is_scalar() ? nearest_name(node.text, known) : "";
  state_.problems.add(node.origin, key(name),
                      message + (nearest.empty() ? "" : "; did you mean '" + nearest + "'?"));
}

void OptionReader::finish() {
  for (const auto& entry : node_.entries) {
    bool known = std::find(asked_for_.begin(), asked_for_.end(), entry.key) != asked_for_.end();
    if (known) {
      continue;
    }
    auto nearest = nearest_name(entry.key, asked_for_);
    std::string hint = nearest.empty() ? "" : key(nearest);
    for (const auto& full : state_.known_keys) {  // the right name in the wrong section
      auto leaf = full.substr(full.rfind('.') == std::string::npos ? 0 : full.rfind('.') + 1);
      hint = hint.empty() && leaf == entry.key ? full : hint;
    }
    hint = hint.empty() ? nearest_name(key(entry.key), state_.known_keys) : hint;
    state_.problems.add(entry.origin, key(shorten(entry.key)),
                        "unknown key" + (hint.empty() ? "" : "; did you mean '" + hint + "'?"));
  }
}

}  // namespace moesaic::trainer
