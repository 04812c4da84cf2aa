#include "trainer/config/model_file.h"

#include "trainer/config/document_options.h"
#include "trainer/config/json_reader.h"
#include "trainer/config/read_options.h"
#include "trainer/config/rules.h"
#include "trainer/config/text_file.h"

#include <nlohmann/json.hpp>

namespace moesaic::trainer {

const std::vector<std::string>& carried_model_keys() {
  static const std::vector<std::string> kKeys = {"_attn_implementation_autoset",
                                                 "_name_or_path",
                                                 "add_cross_attention",
                                                 "architectures",
                                                 "bad_words_ids",
                                                 "begin_suppress_tokens",
                                                 "chunk_size_feed_forward",
                                                 "cross_attention_hidden_size",
                                                 "decoder_start_token_id",
                                                 "diversity_penalty",
                                                 "do_sample",
                                                 "dtype",
                                                 "early_stopping",
                                                 "encoder_no_repeat_ngram_size",
                                                 "exponential_decay_length_penalty",
                                                 "finetuning_task",
                                                 "forced_bos_token_id",
                                                 "forced_eos_token_id",
                                                 "id2label",
                                                 "is_decoder",
                                                 "is_encoder_decoder",
                                                 "label2id",
                                                 "length_penalty",
                                                 "max_length",
                                                 "min_length",
                                                 "no_repeat_ngram_size",
                                                 "num_beam_groups",
                                                 "num_beams",
                                                 "num_return_sequences",
                                                 "output_attentions",
                                                 "output_hidden_states",
                                                 "output_router_logits",
                                                 "output_scores",
                                                 "prefix",
                                                 "problem_type",
                                                 "pruned_heads",
                                                 "remove_invalid_values",
                                                 "repetition_penalty",
                                                 "return_dict",
                                                 "return_dict_in_generate",
                                                 "sep_token_id",
                                                 "suppress_tokens",
                                                 "task_specific_params",
                                                 "temperature",
                                                 "tf_legacy_loss",
                                                 "tie_encoder_decoder",
                                                 "tokenizer_class",
                                                 "top_k",
                                                 "top_p",
                                                 "torch_dtype",
                                                 "torchscript",
                                                 "transformers_version",
                                                 "typical_p",
                                                 "use_bfloat16",
                                                 "use_cache"};
  return kKeys;
}

namespace {

constexpr const char* kModelType = "olmoe";

/// A key of RoPE's description other than the default type: refused with the reason.
void check_rope_type(const ConfigEntry& entry, const std::string& key, Problems& problems) {
  bool is_type = entry.key == "rope_type" || entry.key == "type";
  if (!is_type) {
    problems.add(entry.origin, key, "is not supported: only the default rotary embedding is");
  } else if (!entry.value.is_scalar() || entry.value.text != "default") {
    problems.add(entry.value.origin, key,
                 "must be default; other rotary embeddings are not supported; is " +
                     describe_value(entry.value));
  }
}

void take_rope_scaling(const ConfigNode& node, const std::string& key, Problems& problems) {
  if (node.is_null()) {
    return;
  }
  if (!node.is_map()) {
    problems.add(node.origin, key, "must be null or a section; is " + describe_value(node));
    return;
  }
  for (const auto& entry : node.entries) {
    check_rope_type(entry, key + "." + entry.key, problems);
  }
}

/// rope_parameters of transformers 5: its rope_theta goes to the plain key of older files.
void take_rope_parameters(const ConfigNode& node, const std::string& key, ConfigNode& section,
                          Problems& problems) {
  if (node.is_null()) {
    return;
  }
  if (!node.is_map()) {
    problems.add(node.origin, key, "must be null or a section; is " + describe_value(node));
    return;
  }
  for (const auto& entry : node.entries) {
    if (entry.key != "rope_theta") {
      check_rope_type(entry, key + "." + entry.key, problems);
      continue;
    }
    const auto* plain = section.find("rope_theta");
    double first = 0;
    double second = 0;
    bool equal = plain != nullptr && read_value(*plain, {}, first).empty() &&
                 read_value(entry.value, {}, second).empty() && first == second;
    if (plain == nullptr) {
      section.entries.push_back({"rope_theta", entry.origin, entry.value});
    } else if (!equal) {
      problems.add(entry.value.origin, key + ".rope_theta",
                   "is " + describe_value(entry.value) + ", but rope_theta is " +
                       describe_value(*plain) + "; give one of the two");
    }
  }
}

struct ModelFile {
  moe::ModelConfig config;

  template <typename Visitor>
  void describe(Visitor& visitor) {
    config.describe(visitor);
  }
};

std::vector<std::string> model_keys() {
  std::vector<std::string> keys;
  for (const auto& option : document(moe::ModelConfig())) {
    keys.push_back(option.key);
  }
  return keys;
}

}  // namespace

void take_special_model_keys(ConfigNode& section, const std::string& prefix,
                             moe::ModelConfig& config, Problems& problems) {
  std::vector<ConfigEntry> special;
  std::vector<ConfigEntry> plain;
  const auto& carried = carried_model_keys();
  for (auto& entry : section.entries) {
    bool is_carried = std::find(carried.begin(), carried.end(), entry.key) != carried.end();
    if (is_carried) {
      config.carried[entry.key] = to_json(entry.value);
      continue;
    }
    bool is_special =
        entry.key == "model_type" || entry.key == "rope_scaling" || entry.key == "rope_parameters";
    (is_special ? special : plain).push_back(std::move(entry));
  }
  section.entries = std::move(plain);
  for (const auto& entry : special) {
    auto key = prefix + entry.key;
    if (entry.key == "rope_scaling") {
      take_rope_scaling(entry.value, key, problems);
    } else if (entry.key == "rope_parameters") {
      take_rope_parameters(entry.value, key, section, problems);
    } else if (!entry.value.is_scalar() || entry.value.text != kModelType) {
      problems.add(
          entry.value.origin, key,
          "model family is not supported; must be olmoe; is " + describe_value(entry.value));
    }
  }
}

moe::ModelConfig read_model_file(const std::filesystem::path& config_json,
                                 std::map<std::string, std::string>& origins, Problems& problems) {
  auto name = config_json.string();
  auto root = parse_json(read_text_file(config_json), name, problems);
  origins[""] = name;
  if (root.find("model_type") == nullptr) {
    problems.add(name, "model_type", "is required, and must be olmoe");
  }
  ModelFile file;
  take_special_model_keys(root, "", file.config, problems);
  ReadState state{problems, origins, model_keys()};
  OptionReader reader(root, "", state);
  file.describe(reader);
  reader.finish();
  return file.config;
}

moe::ModelConfig read_model_config(const std::filesystem::path& config_json) {
  Problems problems;
  std::map<std::string, std::string> origins;
  auto config = read_model_file(config_json, origins, problems);
  RuleChecker rules(origins, problems);
  check_model(config, rules);
  problems.throw_if_any();
  config.num_key_value_heads = config.key_value_heads();
  return config;
}

std::string model_config_json(const moe::ModelConfig& config) {
  auto written = config;
  written.num_key_value_heads = config.key_value_heads();
  auto json = nlohmann::json::parse(to_json(to_node(written)));  // sorted, as Hugging Face writes
  json["model_type"] = kModelType;
  json["rope_scaling"] = nullptr;  // with rope_theta: understood by transformers 4.45 and by 5
  json["architectures"] = {"OlmoeForCausalLM"};
  for (const auto& [key, text] : config.carried) {
    json[key] = nlohmann::json::parse(text);
  }
  return json.dump(2) + "\n";
}

}  // namespace moesaic::trainer
