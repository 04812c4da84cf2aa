// The visitor that fills an options struct from a tree and notes everything that does not fit.
#pragma once

#include "trainer/config/config_node.h"
#include "trainer/config/option_text.h"
#include "trainer/config/option_traits.h"
#include "trainer/config/problems.h"

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace moesaic::trainer {

/// What all sections of one reading share.
struct ReadState {
  Problems& problems;
  std::map<std::string, std::string>& origins;  ///< dotted key -> where it was given
  std::vector<std::string> known_keys;          ///< every dotted key of the whole tree
  bool check_required = true;
};

/// Each reads one value. Returns an empty string, or why the value does not fit (may be just "-":
/// nothing to add to the rule).
std::string read_value(const ConfigNode& node, const OptionTraits& traits, bool& value);
std::string read_value(const ConfigNode& node, const OptionTraits& traits, int64_t& value);
std::string read_value(const ConfigNode& node, const OptionTraits& traits, double& value);
std::string read_value(const ConfigNode& node, const OptionTraits& traits, std::string& value);

template <typename T>
std::string read_value(const ConfigNode& node, const OptionTraits& traits,
                       std::optional<T>& value) {
  if (node.is_null()) {
    value.reset();
    return "";
  }
  T inner{};
  auto reason = read_value(node, traits, inner);
  if (reason.empty()) {
    value = std::move(inner);
  }
  return reason;
}

template <typename T>
std::string read_value(const ConfigNode& node, const OptionTraits& traits, std::vector<T>& values) {
  std::vector<ConfigNode> items = node.items;
  if (traits.one_or_many && !node.is_list()) {
    items.clear();
    if (!node.is_null()) {
      items.push_back(node);
    }
  } else if (!node.is_list()) {
    return "-";
  }
  if (traits.length && items.size() != static_cast<size_t>(*traits.length)) {
    return "has " + std::to_string(items.size()) + " elements";
  }
  if (traits.required && items.empty()) {
    return "has no element";
  }
  std::vector<T> read;
  for (const auto& item : items) {
    if (auto reason = read_value(item, traits, read.emplace_back()); !reason.empty()) {
      return "element " + std::to_string(read.size() - 1) + " is " + describe_value(item) +
             (reason == "-" ? "" : ", which " + reason);
    }
  }
  values = std::move(read);
  return "";
}

class OptionReader {
 public:
  /// `node`: a map, or an empty node for defaults. `prefix`: its dotted key, empty at the top.
  OptionReader(const ConfigNode& node, std::string prefix, ReadState& state)
      : node_(node), prefix_(std::move(prefix)), state_(state) {}

  template <typename T>
  void option(std::string_view name, T& value, const OptionTraits& traits = {}) {
    const auto* node = look_up(name, traits);
    if (node == nullptr) {
      return;
    }
    if (auto reason = read_value(*node, traits, value); !reason.empty()) {
      refuse(name, *node, type_text<T>(traits), reason);
    }
  }

  template <typename Enum>
  void choice(std::string_view name, Enum& value, std::type_identity_t<ChoiceNames<Enum>> names,
              const OptionTraits& traits = {}) {
    const auto* node = look_up(name, traits);
    if (node == nullptr) {
      return;
    }
    std::vector<std::string> known;
    for (const auto& [text, meaning] : names) {
      known.emplace_back(text);
      if (node->is_scalar() && node->text == text) {
        value = meaning;
        return;
      }
    }
    refuse_choice(name, *node, known);
  }

  template <typename Section>
  void section(std::string_view name, Section& section, std::string_view /*help*/) {
    OptionReader reader(look_up_section(name), key(name), state_);
    section.describe(reader);
    reader.finish();
  }

  /// Reports the keys that nothing asked for. Call once, after describe().
  void finish();

 private:
  std::string key(std::string_view name) const {
    return prefix_.empty() ? std::string(name) : prefix_ + "." + std::string(name);
  }
  const ConfigNode* look_up(std::string_view name, const OptionTraits& traits);
  const ConfigNode& look_up_section(std::string_view name);
  void refuse(std::string_view name, const ConfigNode& node, const std::string& rule,
              const std::string& reason);
  void refuse_choice(std::string_view name, const ConfigNode& node,
                     const std::vector<std::string>& known);

  const ConfigNode& node_;
  std::string prefix_;
  ReadState& state_;
  std::vector<std::string> asked_for_;
};

}  // namespace moesaic::trainer
