#include "trainer/config/yaml_reader.h"

#include "trainer/config/scalar.h"
#include "trainer/exit_code.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <deque>
#include <sstream>

namespace moesaic::trainer {
namespace {

constexpr size_t kMaxDepth = 32;
constexpr size_t kMaxNodes = 10'000;

/// Builds the tree from yaml-cpp's events and refuses what a configuration never needs.
class TreeBuilder : public YAML::EventHandler {
 public:
  /// `fixed_origin`: the origin of every node, for overrides; empty in a file.
  TreeBuilder(std::string_view text, std::string name, std::string fixed_origin, Problems& problems)
      : text_(text),
        name_(std::move(name)),
        fixed_origin_(std::move(fixed_origin)),
        problems_(problems) {}

  ConfigNode& root() { return root_; }

  [[noreturn]] void fail(const YAML::Mark& mark, const std::string& message) const {
    throw ExitError(ExitCode::kConfiguration, origin(mark) + ": " + message);
  }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (++num_documents_ > 1) {
      fail(mark, "a second document begins here; a configuration is one document");
    }
  }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    ConfigNode node;
    if (auto written = null_at(mark); !written.empty()) {
      node = ConfigNode::scalar(written);
    }
    add(std::move(node), mark, "?", anchor);
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    fail(mark, "aliases (*name) are not supported; write the value out");
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    add(ConfigNode::scalar(value, tag == "!"), mark, tag, anchor);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open_.push_back(add(ConfigNode::list(), mark, tag, anchor));
  }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open_.push_back(add(ConfigNode::map(), mark, tag, anchor));
  }
  void OnSequenceEnd() override { open_.pop_back(); }
  void OnMapEnd() override { open_.pop_back(); }

 private:
  std::string origin(const YAML::Mark& mark) const {
    return fixed_origin_.empty()
               ? name_ + ":" + std::to_string(mark.line + 1) + ":" + std::to_string(mark.column + 1)
               : fixed_origin_;
  }

  /// yaml-cpp reports `key:` and `key: null` alike; the text tells them apart.
  std::string null_at(const YAML::Mark& mark) const {
    size_t begin = 0;
    for (int line = 0; line < mark.line && begin != std::string_view::npos; ++line) {
      begin = text_.find('\n', begin);
      begin += begin == std::string_view::npos ? 0 : 1;
    }
    if (begin == std::string_view::npos ||
        begin + static_cast<size_t>(mark.column) > text_.size()) {
      return "";
    }
    auto rest = text_.substr(begin + static_cast<size_t>(mark.column));
    for (std::string_view word : {"null", "Null", "NULL", "~"}) {
      auto tail = rest.substr(std::min(word.size(), rest.size()));
      if (rest.substr(0, word.size()) == word &&
          (tail.empty() ||
           std::string_view(" \t\r\n,]}").find(tail.front()) != std::string_view::npos)) {
        return std::string(word);
      }
    }
    return "";
  }

  /// Puts a node where the parser stands; returns where it lives. Addresses stay valid as long as
  /// the node is open: a container only grows at its innermost open end.
  ConfigNode* add(ConfigNode node, const YAML::Mark& mark, const std::string& tag,
                  YAML::anchor_t anchor) {
    if (anchor != YAML::NullAnchor) {
      fail(mark, "anchors (&name) are not supported; write the value out");
    }
    if (!tag.empty() && tag != "?" && tag != "!") {
      fail(mark, "tags (" + shorten(tag) + ") are not supported");
    }
    if (++num_nodes_ > kMaxNodes) {
      fail(mark, "more than 10000 values");
    }
    if (open_.size() >= kMaxDepth) {
      fail(mark, "nested more than 32 levels deep");
    }
    node.origin = origin(mark);
    if (open_.empty()) {
      root_ = std::move(node);
      return &root_;
    }
    ConfigNode& parent = *open_.back();
    if (parent.is_list()) {
      return &parent.items.emplace_back(std::move(node));
    }
    if (value_slot_ == nullptr) {
      add_key(parent, node, mark);
      return &parent;
    }
    auto* slot = std::exchange(value_slot_, nullptr);
    *slot = std::move(node);
    return slot;
  }

  void add_key(ConfigNode& parent, const ConfigNode& key, const YAML::Mark& mark) {
    if (!key.is_scalar()) {
      fail(mark, "a key must be a plain name");
    }
    if (key.text == "<<" && !key.quoted) {
      fail(mark, "merge keys (<<) are not supported; write the keys out");
    }
    for (const auto& entry : parent.entries) {
      if (entry.key == key.text) {
        problems_.add(key.origin, "",
                      "duplicate key '" + shorten(key.text) + "', first given at " + entry.origin);
        value_slot_ = &discarded_.emplace_back();
        return;
      }
    }
    parent.entries.push_back({key.text, key.origin, {}});
    value_slot_ = &parent.entries.back().value;
  }

  std::string_view text_;
  std::string name_;
  std::string fixed_origin_;
  Problems& problems_;
  ConfigNode root_;
  std::vector<ConfigNode*> open_;
  ConfigNode* value_slot_ = nullptr;  ///< where the value of the last key goes
  std::deque<ConfigNode> discarded_;  ///< values of duplicate keys
  size_t num_nodes_ = 0;
  int num_documents_ = 0;
};

ConfigNode build_tree(std::string_view text, const std::string& name, const std::string& origin,
                      Problems& problems) {
  constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
  if (text.substr(0, kByteOrderMark.size()) == kByteOrderMark) {
    text.remove_prefix(kByteOrderMark.size());
  }
  std::istringstream stream{std::string(text)};
  TreeBuilder builder(text, name, origin, problems);
  try {
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (const YAML::Exception& error) {
    builder.fail(error.mark, error.msg);
  }
  return std::move(builder.root());
}

}  // namespace

ConfigNode parse_yaml(std::string_view text, const std::string& name, Problems& problems) {
  auto root = build_tree(text, name, "", problems);
  if (root.is_null()) {
    throw ExitError(ExitCode::kConfiguration, name + ": is empty");
  }
  if (!root.is_map()) {
    throw ExitError(
        ExitCode::kConfiguration,
        root.origin + ": the file must hold `key: value` pairs, but holds " + describe_value(root));
  }
  return root;
}

ConfigNode parse_override_value(std::string_view text, const std::string& origin,
                                Problems& problems) {
  if (!text.empty() && std::string_view("[{\"'").find(text.front()) != std::string_view::npos) {
    return build_tree(text, "", origin, problems);
  }
  auto node = ConfigNode::scalar(std::string(text));
  node.origin = origin;
  return node;
}

}  // namespace moesaic::trainer
