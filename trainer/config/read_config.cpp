#include "trainer/config/read_config.h"

#include "trainer/config/json_reader.h"
#include "trainer/config/model_file.h"
#include "trainer/config/overrides.h"
#include "trainer/config/read_options.h"
#include "trainer/config/rules.h"
#include "trainer/config/scalar.h"
#include "trainer/config/text_file.h"
#include "trainer/config/yaml_reader.h"

namespace moesaic::trainer {
namespace {

struct ReadMode {
  bool check_required = true;
  bool read_model_folder = true;  ///< model.from: read its config.json
};

std::vector<std::string> known_keys() {
  std::vector<std::string> keys;
  for (const auto& option : config_documents()) {
    keys.push_back(option.key);
  }
  return keys;
}

/// The model of `model.from`, or Hugging Face's defaults.
moe::ModelConfig read_model_folder(const ConfigNode& section,
                                   std::map<std::string, std::string>& origins,
                                   Problems& problems) {
  const auto* from = section.find("from");
  std::string folder;
  if (from == nullptr || from->is_null() || !read_value(*from, {}, folder).empty()) {
    return {};
  }
  try {
    return read_model_file(std::filesystem::path(folder) / "config.json", origins, problems);
  } catch (const ExitError& error) {
    if (error.code() == ExitCode::kNoInput) {
      problems.add_missing_file(from->origin, "model.from", error.what());
    } else {
      problems.add(from->origin, "model.from", error.what());
    }
    return {};
  }
}

/// Keys beside `from` may repeat what its config.json says, not contradict it.
void check_model_folder(const Config& config, const moe::ModelConfig& folder, Problems& problems) {
  auto given = to_node(config.model.config);
  auto expected = to_node(folder);
  for (const auto& entry : given.entries) {
    auto origin = config.origins.find("model." + entry.key);
    auto there = value_text(*expected.find(entry.key));
    auto here = value_text(entry.value);
    if (origin != config.origins.end() && here != there) {
      problems.add(origin->second, "model." + entry.key,
                   "is " + here + ", but " + there + " in the config.json of model.from");
    }
  }
}

Config read_tree(ConfigNode root, const std::string& file_name, const ReadMode& mode,
                 Problems& problems) {
  Config config;
  config.origins[""] = file_name;
  std::optional<moe::ModelConfig> folder;
  std::map<std::string, std::string> folder_origins;
  if (auto* section = root.find("model"); section != nullptr && section->is_map()) {
    const auto* from = section->find("from");
    if (mode.read_model_folder && from != nullptr && !from->is_null()) {
      folder = read_model_folder(*section, folder_origins, problems);
      folder->num_key_value_heads = folder->key_value_heads();
      config.model.config = *folder;
    }
    take_special_model_keys(*section, "model.", config.model.config, problems);
  }
  ReadState state{problems, config.origins, known_keys(), mode.check_required};
  OptionReader reader(root, "", state);
  config.describe(reader);
  reader.finish();

  auto& model = config.model.config;
  model.num_key_value_heads = model.key_value_heads();
  if (folder && !problems.has("model.from")) {
    check_model_folder(config, *folder, problems);
    for (const auto& [key, origin] : folder_origins) {
      config.origins.emplace("model." + key, origin);
    }
  }
  if (!config.moe.load_balance.coef) {
    config.moe.load_balance.coef = model.router_aux_loss_coef;
  }
  if (!config.trainer.run_dir && !config.name.empty()) {
    config.trainer.run_dir = "runs/" + config.name;
  }
  return config;
}

bool is_below(const std::string& key, const std::string& section) {
  return key == section || key.rfind(section + ".", 0) == 0;
}

struct MoeFile {
  moe::MoeOptions moe;

  template <typename Visitor>
  void describe(Visitor& visitor) {
    visitor.section("moe", moe, "How the experts are trained.");
  }
};

/// Dotted key -> value of everything in the tree that is no section.
void flatten(const ConfigNode& node, const std::string& prefix,
             std::map<std::string, std::string>& values) {
  for (const auto& entry : node.entries) {
    auto key = prefix + entry.key;
    if (entry.value.is_map()) {
      flatten(entry.value, key + ".", values);
    } else {
      values[key] = value_text(entry.value);
    }
  }
}

bool depends_on_micro_batch(const moe::MoeOptions& moe) {
  return moe.load_balance.scope == moe::BalanceScope::kMicroBatch ||
         (moe.capacity.factor && moe.capacity.group == moe::CapacityGroup::kMicroBatch);
}

}  // namespace

Config read_config(const std::filesystem::path& path, const std::vector<std::string>& overrides,
                   std::optional<int64_t> world_size) {
  auto text = read_text_file(path);
  Problems problems;
  auto root = parse_yaml(text, path.string(), problems);
  apply_overrides(overrides, to_node(Config()), root, problems);
  auto config = read_tree(std::move(root), path.string(), ReadMode(), problems);
  check_rules(config, world_size, problems);
  problems.throw_if_any();
  return config;
}

void check_config(const Config& config, int64_t world_size) {
  Problems problems;
  check_rules(config, world_size, problems);
  problems.throw_if_any();
}

Config read_overrides(const std::vector<std::string>& overrides,
                      const std::vector<std::string>& allowed) {
  Problems problems;
  auto known = known_keys();
  std::string taken;
  for (const auto& section : allowed) {
    taken += (taken.empty() ? "" : ", ") + section;
  }
  std::vector<std::string> used;
  for (const auto& text : overrides) {
    auto key = override_key(text);
    bool takes = std::any_of(allowed.begin(), allowed.end(),
                             [&](const std::string& section) { return is_below(key, section); });
    bool exists = std::find(known.begin(), known.end(), key) != known.end();
    if (exists && !takes) {
      problems.add(text, key, "cannot be set for this command, which takes: " + taken);
    } else {
      used.push_back(text);
    }
  }
  auto root = ConfigNode::map();
  apply_overrides(used, to_node(Config()), root, problems);
  ReadMode mode{/*check_required=*/false, /*read_model_folder=*/false};
  auto config = read_tree(std::move(root), "command line", mode, problems);
  problems.throw_if_any();
  return config;
}

moe::MoeOptions read_moe_section(const std::filesystem::path& path,
                                 const std::vector<std::string>& overrides) {
  std::vector<std::string> used;
  std::copy_if(overrides.begin(), overrides.end(), std::back_inserter(used),
               [](const std::string& text) { return is_below(override_key(text), "moe"); });
  Problems problems;
  auto root = parse_yaml(read_text_file(path), path.string(), problems);
  apply_overrides(used, to_node(MoeFile()), root, problems);
  MoeFile file;
  std::map<std::string, std::string> origins = {{"", path.string()}};
  ReadState state{problems, origins, known_keys()};
  OptionReader reader(root, "", state);
  file.describe(reader);
  reader.finish();
  RuleChecker rules(origins, problems);
  check_balance(file.moe, rules);
  problems.throw_if_any();
  return file.moe;
}

std::string resolved_yaml(const Config& config) {
  auto root = to_node(config);
  auto* model = root.find("model");
  for (const auto& [key, text] : config.model.config.carried) {
    model->entries.push_back({key, "", parse_json_value(text)});
  }
  return to_yaml(root);
}

std::vector<OptionDocument> config_documents() {
  return document(Config());
}

std::string config_docs() {
  std::string text;
  for (const auto& option : config_documents()) {
    if (option.is_section()) {
      bool blank = text.size() > 1 && text.substr(text.size() - 2) == "\n\n";
      text += (blank ? "" : "\n") + option.key + ":\n    " + option.help + "\n\n";
      continue;
    }
    text += option.key + "\n    " + option.help + "\n    " + option.type +
            (option.required ? "; required" : "; default " + option.default_text) +
            (option.may_change_on_resume ? "; may change on resume" : "") + "\n";
  }
  text +=
      "\nmodel: also takes model_type: olmoe, rope_parameters and rope_scaling of the default "
      "type,\nand these keys, which do nothing in training and are carried into config.json:";
  constexpr size_t kMaxColumn = 96;
  size_t column = kMaxColumn;
  for (const auto& key : carried_model_keys()) {
    bool wrap = column + key.size() >= kMaxColumn;
    text += (wrap ? "\n    " : " ") + key;
    column = (wrap ? 4 : column + 1) + key.size();
  }
  return text + "\n";
}

std::vector<ResumeDifference> resume_differences(const std::string& resolved_yaml_before,
                                                 const Config& now) {
  Problems problems;
  auto root = parse_yaml(resolved_yaml_before, "resolved.yaml", problems);
  ReadMode mode{/*check_required=*/false, /*read_model_folder=*/false};
  auto before = read_tree(std::move(root), "resolved.yaml", mode, problems);
  problems.throw_if_any();
  std::map<std::string, std::string> values_before;
  std::map<std::string, std::string> values_now;
  flatten(to_node(before), "", values_before);
  flatten(to_node(now), "", values_now);
  bool micro_batch_counts = depends_on_micro_batch(before.moe) || depends_on_micro_batch(now.moe);
  std::vector<ResumeDifference> differences;
  for (const auto& option : config_documents()) {
    bool fixed = !option.may_change_on_resume ||
                 (option.key == "data.micro_batch_size" && micro_batch_counts);
    if (!option.is_section() && fixed && values_before[option.key] != values_now[option.key]) {
      differences.push_back({option.key, values_before[option.key], values_now[option.key]});
    }
  }
  return differences;
}

}  // namespace moesaic::trainer
