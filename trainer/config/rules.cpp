#include "trainer/config/rules.h"

#include "trainer/config/scalar.h"
#include "trainer/fault_option.h"

namespace moesaic::trainer {

void RuleChecker::require(bool holds, std::initializer_list<std::string> keys,
                          const std::string& message) {
  if (holds || !usable(keys)) {
    return;
  }
  auto file = origins_.find("");
  std::string origin = file == origins_.end() ? "configuration" : file->second;
  std::string reported = prefix_ + *keys.begin();
  for (const auto& key : keys) {
    if (auto found = origins_.find(prefix_ + key); found != origins_.end()) {
      origin = found->second;
      reported = prefix_ + key;
      break;
    }
  }
  problems_.add(origin, reported, message);
}

bool RuleChecker::usable(std::initializer_list<std::string> keys) const {
  return std::none_of(keys.begin(), keys.end(),
                      [&](const std::string& key) { return problems_.has(prefix_ + key); });
}

namespace {

std::string quantity(const std::string& key, int64_t value) {
  return key + " (" + std::to_string(value) + ")";
}

void check_attention(const moe::ModelConfig& model, RuleChecker& rules) {
  rules.require(model.hidden_size % model.num_attention_heads == 0,
                {"num_attention_heads", "hidden_size"},
                quantity("num_attention_heads", model.num_attention_heads) + " must divide " +
                    quantity("hidden_size", model.hidden_size));
  rules.require(model.num_attention_heads % model.key_value_heads() == 0,
                {"num_key_value_heads", "num_attention_heads"},
                quantity("num_key_value_heads", model.key_value_heads()) + " must divide " +
                    quantity("num_attention_heads", model.num_attention_heads));
  bool divides = model.hidden_size % model.num_attention_heads == 0;
  rules.require(!divides || model.head_dim() % 2 == 0, {"num_attention_heads", "hidden_size"},
                "the rotary embedding needs an even head dimension; hidden_size / "
                "num_attention_heads is " +
                    std::to_string(model.head_dim()));
  rules.require(!model.attention_bias, {"attention_bias"},
                "biases in the attention are not supported; must be false");
  rules.require(
      model.attention_dropout == 0.0, {"attention_dropout"},
      "dropout is not supported; must be 0.0, is " + number_text(model.attention_dropout));
  rules.require(model.hidden_act == "silu", {"hidden_act"},
                "activation '" + shorten(model.hidden_act) + "' is not supported; must be silu");
}

void check_experts(const moe::ModelConfig& model, RuleChecker& rules) {
  rules.require(model.num_experts_per_tok <= model.num_experts,
                {"num_experts_per_tok", "num_experts"},
                quantity("num_experts_per_tok", model.num_experts_per_tok) +
                    " must not be larger than " + quantity("num_experts", model.num_experts));
  bool constant_weight = model.num_experts_per_tok == 1 && model.norm_topk_prob;
  rules.require(!constant_weight || model.num_experts == 1,
                {"norm_topk_prob", "num_experts_per_tok"},
                "with one expert a token, renormalised weights are always 1 and the router gets no "
                "gradient; set norm_topk_prob: false");
}

void check_size(const moe::ModelConfig& model, RuleChecker& rules) {
  constexpr double kMaxParameters = 1e15;  // bytes of weights and moments stay below 2^63
  auto hidden = static_cast<double>(model.hidden_size);
  double block = 4 * hidden * hidden + static_cast<double>(model.num_experts) * hidden *
                                           (3 * static_cast<double>(model.intermediate_size) + 1);
  double total = 2 * static_cast<double>(model.vocab_size) * hidden +
                 static_cast<double>(model.num_hidden_layers) * block;
  rules.require(
      total <= kMaxParameters,
      {"hidden_size", "num_hidden_layers", "num_experts", "intermediate_size", "vocab_size"},
      "the model would have " + number_text(total) + " parameters; 1e15 is the limit");
}

/// Token ids outside of the vocabulary could never occur.
void check_tokens(const moe::ModelConfig& model, RuleChecker& rules) {
  auto vocabulary = " must be smaller than " + quantity("vocab_size", model.vocab_size);
  for (int64_t token : model.eos_token_id) {
    rules.require(token < model.vocab_size, {"eos_token_id", "vocab_size"},
                  quantity("eos_token_id", token) + vocabulary + ", or null");
  }
  rules.require(
      model.bos_token_id.value_or(0) < model.vocab_size, {"bos_token_id", "vocab_size"},
      quantity("bos_token_id", model.bos_token_id.value_or(0)) + vocabulary + ", or null");
}

void check_hf_compatible(const ModelOptions& model, RuleChecker& rules) {
  auto pad = model.config.pad_token_id.value_or(0);
  rules.require(!model.hf_compatible || pad < model.config.vocab_size,
                {"model.pad_token_id", "model.vocab_size"},
                quantity("pad_token_id", pad) + " must be smaller than " +
                    quantity("vocab_size", model.config.vocab_size) +
                    ", or null: Hugging Face could not load the checkpoints; "
                    "model.hf_compatible: false allows it");
}

void check_name(const Config& config, RuleChecker& rules) {
  constexpr std::string_view kAllowed =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
  constexpr size_t kMaxLength = 128;
  const auto& name = config.name;
  bool letters = name.find_first_not_of(kAllowed) == std::string::npos;
  rules.require(
      letters && name != "." && name != ".." && name.size() <= kMaxLength, {"name"},
      "must consist of at most 128 letters, digits, '.', '_' and '-'; is '" + shorten(name) + "'");
}

void check_schedule(const Config& config, RuleChecker& rules) {
  const auto& schedule = config.lr_schedule;
  rules.require(!schedule.warmup_steps || !schedule.warmup_fraction,
                {"lr_schedule.warmup_fraction", "lr_schedule.warmup_steps"},
                "lr_schedule.warmup_steps and lr_schedule.warmup_fraction exclude each other");
  auto warmup = schedule.warmup_steps.value_or(0);
  rules.require(warmup <= config.trainer.max_steps,
                {"lr_schedule.warmup_steps", "trainer.max_steps"},
                quantity("warmup_steps", warmup) + " must not be larger than " +
                    quantity("trainer.max_steps", config.trainer.max_steps));
}

void check_data(const Config& config, RuleChecker& rules) {
  const auto& data = config.data;
  rules.require(
      data.sequence_length <= config.model.config.max_position_embeddings,
      {"data.sequence_length", "model.max_position_embeddings"},
      quantity("data.sequence_length", data.sequence_length) + " must not be larger than " +
          quantity("model.max_position_embeddings", config.model.config.max_position_embeddings));
  rules.require(!config.logging.validation_interval || !data.sources.validation.empty(),
                {"logging.validation_interval", "data.sources.validation"},
                "validation needs token files in data.sources.validation");
  constexpr double kMaxTokens = 1e12;
  double tokens =
      static_cast<double>(data.global_batch_size) * static_cast<double>(data.sequence_length);
  rules.require(tokens <= kMaxTokens, {"data.global_batch_size", "data.sequence_length"},
                "a step would have " + number_text(tokens) + " tokens; 1e12 is the limit");
  constexpr double kMaxRunTokens = 1e18;  // counted in 64 bits
  double run_tokens = tokens * static_cast<double>(config.trainer.max_steps);
  rules.require(run_tokens <= kMaxRunTokens,
                {"trainer.max_steps", "data.global_batch_size", "data.sequence_length"},
                "the run would have " + number_text(run_tokens) + " tokens; 1e18 is the limit");
}

void check_moe(const Config& config, RuleChecker& rules) {
  rules.require(config.moe.dispatcher != moe::DispatcherKind::kLocal || config.parallel.expert == 1,
                {"moe.dispatcher", "parallel.expert"},
                "dispatcher: local moves no rows between ranks, but " +
                    quantity("parallel.expert", config.parallel.expert) + " needs it");
  rules.require(config.model.config.num_experts >= config.parallel.expert,
                {"parallel.expert", "model.num_experts"},
                quantity("parallel.expert", config.parallel.expert) + " must not be larger than " +
                    quantity("model.num_experts", config.model.config.num_experts));
}

/// "; micro_batch_size 1, 2, 4 would work": the sizes that fit, at most eight.
std::string working_sizes(int64_t sequences_a_rank) {
  constexpr int64_t kMaxListed = 8;
  std::string sizes;
  int64_t listed = 0;
  for (int64_t size = 1; size <= sequences_a_rank && size <= 4096 && listed < kMaxListed; ++size) {
    if (sequences_a_rank % size == 0) {
      sizes += (sizes.empty() ? "" : ", ") + std::to_string(size);
      ++listed;
    }
  }
  return sizes;
}

void check_batch(const Config& config, int64_t world_size, RuleChecker& rules) {
  if (!rules.usable({"data.global_batch_size", "data.micro_batch_size"})) {
    return;
  }
  int64_t batch = config.data.global_batch_size;
  int64_t micro = config.data.micro_batch_size;
  std::string ranks = std::to_string(world_size) + (world_size == 1 ? " rank" : " ranks");
  if (batch % world_size != 0) {
    int64_t below = batch / world_size * world_size;
    rules.require(false, {"data.global_batch_size"},
                  quantity("data.global_batch_size", batch) + " must be divisible by the " + ranks +
                      " that share it; " + (below > 0 ? std::to_string(below) + " or " : "") +
                      std::to_string(below + world_size) + " would work");
    return;
  }
  rules.require(batch / world_size % micro == 0,
                {"data.micro_batch_size", "data.global_batch_size"},
                quantity("data.micro_batch_size", micro) + " must divide the " +
                    std::to_string(batch / world_size) + " sequences of each of the " + ranks +
                    "; it could be " + working_sizes(batch / world_size));
  bool global = config.moe.load_balance.scope == moe::BalanceScope::kGlobal;
  int64_t accumulation = std::max<int64_t>(batch / world_size / micro, 1);
  rules.require(
      !global || accumulation == 1,
      {"moe.load_balance.scope", "data.micro_batch_size", "data.global_batch_size"},
      "scope: global needs the counts of the whole step before the first backward, so one "
      "micro-batch a rank; here a rank has " +
          std::to_string(accumulation) + ": set data.micro_batch_size to " +
          std::to_string(batch / world_size) + ", or formula to switch and scope to sequence");
}

void check_world(const Config& config, int64_t world_size, RuleChecker& rules) {
  rules.require(world_size % config.parallel.expert == 0, {"parallel.expert"},
                quantity("parallel.expert", config.parallel.expert) +
                    " must divide the number of ranks (" + std::to_string(world_size) + ")");
  check_batch(config, world_size, rules);
}

void check_fault(const Config& config, std::optional<int64_t> world_size, RuleChecker& rules) {
  if (!config.debug.fault) {
    return;
  }
  rules.require(parse_fault(*config.debug.fault).has_value(), {"debug.fault"},
                "must be one of " + known_faults() + "; is '" + shorten(*config.debug.fault) + "'");
  rules.require(world_size.value_or(2) > 1, {"debug.fault"},
                "acts on the last rank of a parallel run, and this one has one rank: nothing to "
                "hit");
}

}  // namespace

void check_balance(const moe::MoeOptions& moe, RuleChecker& rules) {
  rules.require(moe.load_balance.formula != moe::BalanceFormula::kHuggingFace ||
                    moe.load_balance.scope == moe::BalanceScope::kGlobal,
                {"moe.load_balance.scope", "moe.load_balance.formula"},
                "formula: hf counts over all tokens at once and goes with scope: global only");
}

void check_model(const moe::ModelConfig& model, RuleChecker& rules) {
  if (rules.usable({"hidden_size", "num_attention_heads", "num_key_value_heads"})) {
    check_attention(model, rules);
  }
  check_experts(model, rules);
  check_size(model, rules);
  check_tokens(model, rules);
}

void check_rules(const Config& config, std::optional<int64_t> world_size, Problems& problems) {
  RuleChecker model_rules(config.origins, problems, "model.");
  check_model(config.model.config, model_rules);
  RuleChecker rules(config.origins, problems);
  check_hf_compatible(config.model, rules);
  check_name(config, rules);
  check_schedule(config, rules);
  check_data(config, rules);
  check_balance(config.moe, rules);
  check_moe(config, rules);
  check_fault(config, world_size, rules);
  if (world_size) {
    check_world(config, *world_size, rules);
  }
}

}  // namespace moesaic::trainer
