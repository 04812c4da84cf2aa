// The visitor that turns an options struct back into a tree, every key with its value.
#pragma once

#include "trainer/config/config_node.h"
#include "trainer/config/option_traits.h"
#include "trainer/config/scalar.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace moesaic::trainer {

inline ConfigNode value_node(bool value, const OptionTraits&) {
  return ConfigNode::scalar(value ? "true" : "false");
}
inline ConfigNode value_node(int64_t value, const OptionTraits&) {
  return ConfigNode::scalar(std::to_string(value));
}
inline ConfigNode value_node(double value, const OptionTraits&) {
  return ConfigNode::scalar(number_text(value));
}
inline ConfigNode value_node(const std::string& value, const OptionTraits&) {
  return ConfigNode::scalar(value, /*quoted=*/true);
}

template <typename T>
ConfigNode value_node(const std::optional<T>& value, const OptionTraits& traits) {
  return value ? value_node(*value, traits) : ConfigNode::scalar("null");
}

template <typename T>
ConfigNode value_node(const std::vector<T>& values, const OptionTraits& traits) {
  if (traits.one_or_many && values.size() < 2) {
    return values.empty() ? ConfigNode::scalar("null") : value_node(values.front(), traits);
  }
  auto node = ConfigNode::list();
  for (const auto& value : values) {
    node.items.push_back(value_node(value, traits));
  }
  return node;
}

class OptionWriter {
 public:
  template <typename T>
  void option(std::string_view name, const T& value, const OptionTraits& traits = {}) {
    add(name, value_node(value, traits));
  }

  template <typename Enum>
  void choice(std::string_view name, const Enum& value,
              std::type_identity_t<ChoiceNames<Enum>> names, const OptionTraits& = {}) {
    for (const auto& [text, meaning] : names) {
      if (meaning == value) {
        add(name, ConfigNode::scalar(std::string(text), /*quoted=*/true));
      }
    }
  }

  template <typename Section>
  void section(std::string_view name, Section& section, std::string_view /*help*/) {
    OptionWriter writer;
    section.describe(writer);
    add(name, std::move(writer.node_));
  }

  /// The tree of everything that was described.
  ConfigNode take() { return std::move(node_); }

 private:
  void add(std::string_view name, ConfigNode node) {
    node_.entries.push_back({std::string(name), "", std::move(node)});
  }

  ConfigNode node_ = ConfigNode::map();
};

/// The tree of an options struct.
template <typename Options>
ConfigNode to_node(Options options) {
  OptionWriter writer;
  options.describe(writer);
  return writer.take();
}

}  // namespace moesaic::trainer
