#include "trainer/config/config_node.h"

#include "trainer/config/scalar.h"

#include <nlohmann/json.hpp>

namespace moesaic::trainer {

bool ConfigNode::is_null() const {
  return kind == Kind::kEmpty || (kind == Kind::kScalar && !quoted && is_null_text(text));
}

const ConfigNode* ConfigNode::find(std::string_view key) const {
  for (const auto& entry : entries) {
    if (entry.key == key) {
      return &entry.value;
    }
  }
  return nullptr;
}

ConfigNode* ConfigNode::find(std::string_view key) {
  return const_cast<ConfigNode*>(std::as_const(*this).find(key));
}

ConfigNode ConfigNode::scalar(std::string text, bool quoted) {
  ConfigNode node;
  node.kind = Kind::kScalar;
  node.text = std::move(text);
  node.quoted = quoted;
  return node;
}

ConfigNode ConfigNode::map() {
  ConfigNode node;
  node.kind = Kind::kMap;
  return node;
}

ConfigNode ConfigNode::list() {
  ConfigNode node;
  node.kind = Kind::kList;
  return node;
}

std::string describe_value(const ConfigNode& node) {
  if (node.is_map()) {
    return "a section";
  }
  if (node.is_list()) {
    return "a list";
  }
  if (node.is_null()) {
    return "null";
  }
  auto shown = shorten(node.text);
  if (node.quoted) {
    return "the string \"" + shown + "\"";
  }
  return "'" + shown + "'";
}

namespace {

std::string json_string(const std::string& text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

/// Plain where YAML would read the same string back, else double-quoted.
std::string yaml_string(const std::string& text) {
  constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_/";
  constexpr std::string_view kMore = "0123456789.-+@";
  bool plain = !text.empty() && kLetters.find(text.front()) != std::string_view::npos;
  for (char letter : text) {
    plain = plain && (kLetters.find(letter) != std::string_view::npos ||
                      kMore.find(letter) != std::string_view::npos);
  }
  return plain && is_string_text(text) ? text : json_string(text);
}

std::string scalar_to_yaml(const ConfigNode& node) {
  if (node.is_null()) {
    return "null";
  }
  return node.quoted ? yaml_string(node.text) : node.text;
}

/// One line: lists, and maps inside lists.
std::string to_flow_yaml(const ConfigNode& node) {
  if (node.is_list()) {
    std::string text = "[";
    for (const auto& item : node.items) {
      text += (text.size() > 1 ? ", " : "") + to_flow_yaml(item);
    }
    return text + "]";
  }
  if (node.is_map()) {
    std::string text = "{";
    for (const auto& entry : node.entries) {
      text +=
          (text.size() > 1 ? ", " : "") + json_string(entry.key) + ": " + to_flow_yaml(entry.value);
    }
    return text + "}";
  }
  return scalar_to_yaml(node);
}

void append_block_yaml(const ConfigNode& node, const std::string& indent, std::string& text) {
  for (const auto& entry : node.entries) {
    text += indent + yaml_string(entry.key) + ":";
    if (entry.value.is_map() && !entry.value.entries.empty()) {
      text += "\n";
      append_block_yaml(entry.value, indent + "  ", text);
    } else {
      text += " " + to_flow_yaml(entry.value) + "\n";
    }
  }
}

}  // namespace

std::string to_yaml(const ConfigNode& node) {
  std::string text;
  append_block_yaml(node, "", text);
  return text;
}

std::string value_text(const ConfigNode& node) {
  return to_flow_yaml(node);
}

std::string to_json(const ConfigNode& node) {
  if (node.is_list()) {
    std::string text = "[";
    for (const auto& item : node.items) {
      text += (text.size() > 1 ? "," : "") + to_json(item);
    }
    return text + "]";
  }
  if (node.is_map()) {
    std::string text = "{";
    for (const auto& entry : node.entries) {
      text += (text.size() > 1 ? "," : "") + json_string(entry.key) + ":" + to_json(entry.value);
    }
    return text + "}";
  }
  if (node.is_null()) {
    return "null";
  }
  bool literal = node.text == "true" || node.text == "false" || nlohmann::json::accept(node.text);
  return !node.quoted && literal ? node.text : json_string(node.text);
}

}  // namespace moesaic::trainer
