#include "trainer/config/json_reader.h"

#include "trainer/config/scalar.h"
#include "trainer/exit_code.h"

#include <nlohmann/json.hpp>

#include <deque>

namespace moesaic::trainer {
namespace {

constexpr size_t kMaxDepth = 32;
constexpr size_t kMaxNodes = 10'000;

/// Walks over the text and lets others see how far the parser has read.
class TrackedIterator {
 public:
  using iterator_category = std::forward_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  TrackedIterator(const char* at, const char** read_up_to) : at_(at), read_up_to_(read_up_to) {}
  reference operator*() const { return *at_; }
  TrackedIterator& operator++() {
    *read_up_to_ = ++at_;
    return *this;
  }
  TrackedIterator operator++(int) {
    auto before = *this;
    ++*this;
    return before;
  }
  bool operator==(const TrackedIterator& other) const { return at_ == other.at_; }
  bool operator!=(const TrackedIterator& other) const { return at_ != other.at_; }

 private:
  const char* at_;
  const char** read_up_to_;
};

class TreeBuilder : public nlohmann::json_sax<nlohmann::json> {
 public:
  TreeBuilder(std::string_view text, std::string name, Problems& problems)
      : text_(text), name_(std::move(name)), problems_(problems), read_up_to_(text.data()) {}

  ConfigNode& root() { return root_; }
  TrackedIterator begin() { return {text_.data(), &read_up_to_}; }
  TrackedIterator end() { return {text_.data() + text_.size(), &read_up_to_}; }

  bool null() override { return add(ConfigNode::scalar("null")); }
  bool boolean(bool value) override { return add(ConfigNode::scalar(value ? "true" : "false")); }
  bool number_integer(number_integer_t value) override {
    return add(ConfigNode::scalar(std::to_string(value)));
  }
  bool number_unsigned(number_unsigned_t value) override {
    return add(ConfigNode::scalar(std::to_string(value)));
  }
  bool number_float(number_float_t, const string_t& text) override {
    return add(ConfigNode::scalar(text));
  }
  bool string(string_t& value) override {
    return add(ConfigNode::scalar(value, /*quoted=*/true), value.size() + 2);
  }
  bool binary(binary_t&) override { return false; }  // never in text
  bool start_object(size_t) override { return open(ConfigNode::map()); }
  bool start_array(size_t) override { return open(ConfigNode::list()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(string_t& key) override {
    auto origin = position(key.size() + 2);
    ConfigNode& parent = *open_.back();
    for (const auto& entry : parent.entries) {
      if (entry.key == key) {
        problems_.add(origin, "",
                      "duplicate key '" + shorten(key) + "', first given at " + entry.origin);
        value_slot_ = &discarded_.emplace_back();
        return true;
      }
    }
    parent.entries.push_back({key, origin, {}});
    value_slot_ = &parent.entries.back().value;
    key_origin_ = origin;
    return true;
  }

  bool parse_error(size_t, const std::string& token, const nlohmann::json::exception&) override {
    fail("is not JSON near '" + shorten(token) + "'");
  }

 private:
  [[noreturn]] void fail(const std::string& message) const {
    throw ExitError(ExitCode::kConfiguration, position(1) + ": " + message);
  }

  /// Where the token of this length, just read, begins.
  std::string position(size_t length) const {
    auto end = static_cast<size_t>(read_up_to_ - text_.data());
    auto before = text_.substr(0, end - std::min(end, length));
    auto line_begin = before.rfind('\n');
    auto column =
        line_begin == std::string_view::npos ? before.size() : before.size() - line_begin - 1;
    return name_ + ":" + std::to_string(std::count(before.begin(), before.end(), '\n') + 1) + ":" +
           std::to_string(column + 1);
  }

  bool add(ConfigNode node, size_t length = 1) {
    place(std::move(node), length);
    return true;
  }
  bool open(ConfigNode node) {
    open_.push_back(place(std::move(node), 1));
    return true;
  }
  bool close() {
    open_.pop_back();
    return true;
  }

  ConfigNode* place(ConfigNode node, size_t length) {
    if (++num_nodes_ > kMaxNodes) {
      fail("more than 10000 values");
    }
    if (open_.size() >= kMaxDepth) {
      fail("nested more than 32 levels deep");
    }
    ConfigNode* slot = &root_;
    node.origin = position(length);
    if (!open_.empty() && open_.back()->is_list()) {
      slot = &open_.back()->items.emplace_back();
    } else if (!open_.empty()) {
      slot = std::exchange(value_slot_, nullptr);
      node.origin = key_origin_;
    }
    *slot = std::move(node);
    return slot;
  }

  std::string_view text_;
  std::string name_;
  Problems& problems_;
  const char* read_up_to_;
  ConfigNode root_;
  std::vector<ConfigNode*> open_;
  ConfigNode* value_slot_ = nullptr;  ///< where the value of the last key goes
  std::string key_origin_;            ///< where that key stands: a value's own place is blurred
                                      ///< by the parser's look-ahead
  std::deque<ConfigNode> discarded_;  ///< values of duplicate keys
  size_t num_nodes_ = 0;
};

ConfigNode build_tree(std::string_view text, const std::string& name, Problems& problems) {
  TreeBuilder builder(text, name, problems);
  nlohmann::json::sax_parse(builder.begin(), builder.end(), &builder);
  return std::move(builder.root());
}

}  // namespace

ConfigNode parse_json(std::string_view text, const std::string& name, Problems& problems) {
  auto root = build_tree(text, name, problems);
  if (!root.is_map()) {
    throw ExitError(ExitCode::kConfiguration, name + ":1:1: the file must hold one JSON object");
  }
  return root;
}

ConfigNode parse_json_value(std::string_view text) {
  Problems problems;
  auto node = build_tree(text, "json", problems);
  problems.throw_if_any();
  return node;
}

}  // namespace moesaic::trainer
