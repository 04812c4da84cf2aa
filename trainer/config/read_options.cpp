#include "trainer/config/read_options.h"

#include "trainer/config/scalar.h"

namespace moesaic::trainer {
namespace {

/// What other trainers call it: Megatron-Core, OLMo-core, torchtitan, Hugging Face.
constexpr std::pair<std::string_view, std::string_view> kNamesElsewhere[] = {
    {"learning_rate", "optimizer.lr"},
    {"top_k", "model.num_experts_per_tok"},
    {"moe_router_topk", "model.num_experts_per_tok"},
    {"num_local_experts", "model.num_experts"},
    {"ffn_hidden_size", "model.intermediate_size"},
    {"capacity_factor", "moe.capacity.factor"},
    {"aux_loss_coef", "moe.load_balance.coef"},
    {"z_loss_weight", "moe.router_z_loss_coef"},
    {"expert_parallel_degree", "parallel.expert"},
    {"expert_model_parallel_size", "parallel.expert"},
    {"batch_size", "data.global_batch_size"},
    {"seq_len", "data.sequence_length"},
    {"train_iters", "trainer.max_steps"},
    {"clip_grad", "optimizer.max_grad_norm"},
    {"save_interval", "checkpoint.interval"},
};

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

std::string OptionReader::hint(const std::string& unknown) const {
  for (const auto& full : state_.known_keys) {  // the right name in the wrong section
    if (full.substr(full.rfind('.') + 1) == unknown) {
      return full;
    }
  }
  if (auto nearest = nearest_name(unknown, asked_for_); !nearest.empty()) {
    return key(nearest);
  }
  std::vector<std::string> elsewhere;
  for (const auto& [name, ours] : kNamesElsewhere) {
    elsewhere.emplace_back(name);
  }
  auto nearest = nearest_name(unknown, elsewhere);
  for (const auto& [name, ours] : kNamesElsewhere) {
    if (name == nearest) {
      return std::string(ours);
    }
  }
  return nearest_name(key(unknown), state_.known_keys);
}

void OptionReader::finish() {
  for (const auto& entry : node_.entries) {
    bool known = std::find(asked_for_.begin(), asked_for_.end(), entry.key) != asked_for_.end();
    if (!known) {
      auto meant = hint(entry.key);
      state_.problems.add(entry.origin, key(shorten(entry.key)),
                          "unknown key" + (meant.empty() ? "" : "; did you mean '" + meant + "'?"));
    }
  }
}

}  // namespace moesaic::trainer
