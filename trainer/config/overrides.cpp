#include "trainer/config/overrides.h"

#include "trainer/config/scalar.h"
#include "trainer/config/text_file.h"
#include "trainer/config/yaml_reader.h"

#include <set>

namespace moesaic::trainer {
namespace {

std::vector<std::string> split_key(const std::string& key) {
  std::vector<std::string> parts(1);
  for (char letter : key) {
    if (letter == '.') {
      parts.emplace_back();
    } else {
      parts.back() += letter;
    }
  }
  return parts;
}

bool is_index(const std::string& part) {
  return !part.empty() && part.size() <= 4 &&
         part.find_first_not_of("0123456789") == std::string::npos;
}

/// The child that a part of the path leads to, made if it is not there; nullptr and a problem if
/// `node` has no children.
ConfigNode* descend(ConfigNode& node, const std::string& part, const std::string& path,
                    const std::string& origin, Problems& problems) {
  if (node.is_list() && is_index(part)) {
    auto index = static_cast<size_t>(std::stoul(part));
    if (index > node.items.size()) {
      problems.add(origin, path, "the list has " + std::to_string(node.items.size()) + " elements");
      return nullptr;
    }
    node.origin = origin;
    return index < node.items.size() ? &node.items[index] : &node.items.emplace_back();
  }
  if (node.kind == ConfigNode::Kind::kEmpty) {
    node = ConfigNode::map();
    node.origin = origin;
  }
  if (!node.is_map()) {
    problems.add(origin, path, "is " + describe_value(node) + ", no section");
    return nullptr;
  }
  if (auto* child = node.find(part)) {
    return child;
  }
  node.entries.push_back({part, origin, {}});
  return &node.entries.back().value;
}

void apply_override(const std::string& origin, const ConfigNode& defaults, ConfigNode& root,
                    Problems& problems) {
  auto key = override_key(origin);
  auto value_text = origin.substr(origin.find('=') + 1);
  if (value_text.empty()) {
    problems.add(origin, key, "has no value; write null for none");
    return;
  }
  if (!text_error(value_text).empty()) {
    problems.add(origin, key, "is not UTF-8 text");
    return;
  }
  auto value = parse_override_value(value_text, origin, problems);
  ConfigNode* node = &root;
  const ConfigNode* known = &defaults;
  std::string path;
  for (const auto& part : split_key(key)) {
    if (known != nullptr && known->is_list() && node->kind == ConfigNode::Kind::kEmpty) {
      *node = *known;  // an element of a list that the file leaves at its default
      node->origin = origin;
    }
    node = descend(*node, part, path, origin, problems);
    if (node == nullptr) {
      return;
    }
    known = known != nullptr ? known->find(part) : nullptr;
    path += (path.empty() ? "" : ".") + part;
  }
  *node = std::move(value);
}

}  // namespace

std::string override_key(const std::string& override_text) {
  auto equals = override_text.find('=');
  if (override_text.rfind("--", 0) != 0 || equals == std::string::npos || equals == 2) {
    throw ExitError(ExitCode::kUsage, "'" + shorten(override_text) +
                                          "' is not an option of this command; overrides are "
                                          "written --section.key=value");
  }
  return override_text.substr(2, equals - 2);
}

void apply_overrides(const std::vector<std::string>& overrides, const ConfigNode& defaults,
                     ConfigNode& root, Problems& problems) {
  std::set<std::string> seen;
  for (const auto& text : overrides) {
    if (auto key = override_key(text); !seen.insert(key).second) {
      problems.add(text, key, "is given twice on the command line");
      continue;
    }
    const auto section = override_key(text) + ".";
    if (const auto inner = seen.lower_bound(section);
        inner != seen.end() && inner->rfind(section, 0) == 0) {
      problems.add(text, override_key(text), "would undo " + *inner + ", given before it");
      continue;
    }
    apply_override(text, defaults, root, problems);
  }
}

}  // namespace moesaic::trainer
