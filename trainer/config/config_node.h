// The tree that YAML files, JSON files and overrides are read into, before any type is known.
// Every node knows where it was written; nothing is interpreted yet.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace moesaic::trainer {

struct ConfigEntry;

struct ConfigNode {
  enum class Kind {
    kEmpty,   ///< `key:` with nothing behind it
    kScalar,  ///< text; null, true and 8 are plain, "8" is quoted
    kList,
    kMap,
  };

  Kind kind = Kind::kEmpty;
  std::string text;     ///< of a scalar
  bool quoted = false;  ///< a string whatever it looks like
  std::vector<ConfigNode> items;
  std::vector<ConfigEntry> entries;  ///< in the order of the file; keys are unique
  std::string origin;                ///< "file:line:column" or "--key=value"

  bool is_map() const { return kind == Kind::kMap; }
  bool is_list() const { return kind == Kind::kList; }
  bool is_scalar() const { return kind == Kind::kScalar; }
  /// An empty value, or a plain null.
  bool is_null() const;

  /// The value of a key, or nullptr.
  ConfigNode* find(std::string_view key);
  const ConfigNode* find(std::string_view key) const;

  static ConfigNode scalar(std::string text, bool quoted = false);
  static ConfigNode map();
  static ConfigNode list();
};

struct ConfigEntry {
  std::string key;
  std::string origin;  ///< where the key stands
  ConfigNode value;
};

/// "a string 'x'", "the number 8", "null", "a list", "a section": for messages.
std::string describe_value(const ConfigNode& node);

/// The file as YAML that read_config reads back to the same tree.
std::string to_yaml(const ConfigNode& node);

/// A scalar or a list as it stands behind `key:` in YAML.
std::string value_text(const ConfigNode& node);

/// The node as JSON text; numbers keep their digits.
std::string to_json(const ConfigNode& node);

}  // namespace moesaic::trainer
