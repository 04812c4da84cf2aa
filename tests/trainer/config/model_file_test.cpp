#include "trainer/config/model_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/trainer/config/config_text.h"
#include "trainer/config/read_config.h"

namespace moesaic::trainer {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;

const std::filesystem::path kGolden = std::filesystem::path(MOESAIC_SOURCE_DIR) / "tests/golden";

/// config.json of allenai/OLMoE-1B-7B-0924, as the hub has it.
constexpr const char* kPublishedConfig = R"({
  "architectures": ["OlmoeForCausalLM"],
  "attention_bias": false,
  "attention_dropout": 0.0,
  "clip_qkv": null,
  "eos_token_id": 50279,
  "hidden_act": "silu",
  "hidden_size": 2048,
  "initializer_range": 0.02,
  "intermediate_size": 1024,
  "max_position_embeddings": 4096,
  "model_type": "olmoe",
  "norm_topk_prob": false,
  "num_attention_heads": 16,
  "num_experts": 64,
  "num_experts_per_tok": 8,
  "num_hidden_layers": 16,
  "num_key_value_heads": 16,
  "output_router_logits": false,
  "pad_token_id": 1,
  "rms_norm_eps": 1e-05,
  "rope_scaling": null,
  "rope_theta": 10000.0,
  "router_aux_loss_coef": 0.01,
  "tie_word_embeddings": false,
  "torch_dtype": "bfloat16",
  "transformers_version": "4.43.0.dev0",
  "use_cache": true,
  "vocab_size": 50304
}
)";

moe::ModelConfig read(const std::string& text) {
  TemporaryFile file(text, ".json");
  return read_model_config(file.path());
}

/// The published file with one key set.
std::string with(const std::string& key, const json& value) {
  auto config = json::parse(kPublishedConfig);
  config[key] = value;
  return config.dump(2);
}

TEST(ReadModelConfig, ReadsThePublishedFile) {
  auto config = read(kPublishedConfig);
  EXPECT_EQ(config.vocab_size, 50304);
  EXPECT_EQ(config.intermediate_size, 1024);
  EXPECT_EQ(config.rms_norm_eps, 1e-5);
  EXPECT_EQ(config.pad_token_id, 1);
  EXPECT_FALSE(config.bos_token_id.has_value());
  EXPECT_THAT(config.eos_token_id, testing::ElementsAre(50279));
  EXPECT_EQ(config.carried.at("torch_dtype"), "\"bfloat16\"");
  EXPECT_EQ(config.carried.at("use_cache"), "true");
}

TEST(ReadModelConfig, DefaultsAreThoseOfHuggingFace) {
  auto config = read(R"({"model_type": "olmoe"})");
  EXPECT_EQ(config.hidden_size, 2048);
  EXPECT_EQ(config.intermediate_size, 2048);
  EXPECT_EQ(config.num_key_value_heads, 16);
  EXPECT_EQ(config.rope_theta, 10000.0);
}

TEST(ReadModelConfig, EveryGoldenConfigLoadsAndIsWrittenBack) {
  int num_files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(kGolden)) {
    auto path = entry.path() / "config.json";
    if (!std::filesystem::exists(path)) {
      continue;
    }
    ++num_files;
    auto config = read_model_config(path);
    std::ifstream file(path);
    auto expected = json::parse(file);
    EXPECT_EQ(config.rope_theta, expected["rope_parameters"]["rope_theta"]);
    expected["rope_theta"] = expected["rope_parameters"]["rope_theta"];
    expected["rope_scaling"] = nullptr;
    expected.erase("rope_parameters");
    EXPECT_EQ(json::parse(model_config_json(config)), expected) << path;
  }
  EXPECT_GE(num_files, 5);
}

TEST(ModelConfigJson, KeepsThePublishedFileAndItsTypes) {
  auto text = model_config_json(read(kPublishedConfig));
  auto written = json::parse(text);
  auto expected = json::parse(kPublishedConfig);
  expected["bos_token_id"] = nullptr;
  EXPECT_EQ(written, expected);
  for (const char* key : {"rope_theta", "rms_norm_eps", "initializer_range", "router_aux_loss_coef",
                          "attention_dropout"}) {
    EXPECT_TRUE(written[key].is_number_float()) << key << ": transformers 5 checks the type";
  }
  EXPECT_EQ(model_config_json(read(text)), text);
}

TEST(ModelConfigJson, WritesSeveralEndTokensAsAList) {
  auto config = read(with("eos_token_id", {1, 2}));
  EXPECT_EQ(json::parse(model_config_json(config))["eos_token_id"], json({1, 2}));
  config.eos_token_id.clear();
  EXPECT_TRUE(json::parse(model_config_json(config))["eos_token_id"].is_null());
}

TEST(ReadModelConfig, RotaryEmbeddingInBothSpellings) {
  auto config = json::parse(kPublishedConfig);
  config["rope_parameters"] = {{"rope_theta", 500000.0}, {"rope_type", "default"}};
  auto conflict = failure_of([&] { read(config.dump()); });
  EXPECT_EQ(conflict.code, ExitCode::kConfiguration);
  EXPECT_THAT(conflict.message, HasSubstr("give one of the two"));
  config.erase("rope_theta");
  EXPECT_EQ(read(config.dump()).rope_theta, 500000.0);
  config["rope_theta"] = 500000;
  EXPECT_EQ(read(config.dump()).rope_theta, 500000.0);
  config["rope_parameters"] = nullptr;
  EXPECT_EQ(read(config.dump()).rope_theta, 500000.0);
  EXPECT_EQ(read(with("rope_scaling", {{"type", "default"}})).rope_theta, 10000.0);
}

TEST(ReadModelConfig, RefusesWhatItCannotRunWithTheReason) {
  struct Case {
    const char* key;
    json value;
    const char* message;
  };
  const Case kCases[] = {
      {"model_type", "mixtral", "must be olmoe; is the string \"mixtral\""},
      {"attention_bias", true, "biases in the attention are not supported"},
      {"attention_dropout", 0.1, "dropout is not supported"},
      {"hidden_act", "gelu", "activation 'gelu' is not supported"},
      {"rope_scaling", {{"type", "linear"}, {"factor", 2.0}}, "must be default"},
      {"rope_parameters", {{"rope_theta", 1e4}, {"rope_type", "yarn"}}, "must be default"},
      {"rope_parameters", {{"partial_rotary_factor", 0.5}}, "is not supported"},
      {"head_dim", 64, "head_dim: unknown key"},
      {"quantization_config", {{"bits", 4}}, "unknown key"},
      {"num_experts", 64.5, "must be a whole number >= 1 and <= 1e+06; is '64.5'"},
      {"num_experts", -16, "must be a whole number >= 1 and <= 1e+06; is '-16'"},
      {"num_experts", 1e30, "does not fit in 64 bits"},
      {"num_experts", 4294967296, "must be a whole number >= 1 and <= 1e+06"},
      {"vocab_size", 4294967296000, "1e15 is the limit"},
      {"num_experts", "64", "is the string \"64\""},
      {"num_experts_per_tok", 65, "must not be larger than num_experts (64)"},
      {"norm_topk_prob", "true", "must be true or false"},
      {"clip_qkv", 0, "must be a number > 0, or null; is '0'"},
      {"num_attention_heads", 12, "must divide hidden_size (2048)"},
      {"eos_token_id", 50304, "must be smaller than vocab_size"},
      {"hidden_size", nullptr, "is null"},
  };
  for (const auto& bad : kCases) {
    auto failure = failure_of([&] { read(with(bad.key, bad.value)); });
    EXPECT_EQ(failure.code, ExitCode::kConfiguration) << bad.key << " " << bad.value;
    EXPECT_THAT(failure.message, AllOf(HasSubstr(".json:"), HasSubstr(bad.message)))
        << bad.key << " " << bad.value;
  }
  auto missing = failure_of([] { read_model_config("/nonexistent/config.json"); });
  EXPECT_EQ(missing.code, ExitCode::kNoInput);
  auto no_type = failure_of([] { read("{}"); });
  EXPECT_THAT(no_type.message, HasSubstr("model_type: is required"));
}

TEST(ReadModelConfig, NamesLineAndColumn) {
  TemporaryFile file("{\n  \"model_type\": \"olmoe\",\n  \"hidden_siz\": 3\n}", ".json");
  auto failure = failure_of([&] { read_model_config(file.path()); });
  EXPECT_EQ(failure.message,
            file.path().string() + ":3:3: hidden_siz: unknown key; did you mean 'hidden_size'?");
}

/// The valid configuration with its model taken from a golden folder.
std::string from_golden(const std::string& more_keys) {
  std::string text = kValidConfig;
  auto begin = text.find("model:");
  auto end = text.find("moe:");
  return text.replace(begin, end - begin,
                      "model:\n  from: " + (kGolden / "olmoe").string() + "\n" + more_keys);
}

TEST(ModelFrom, TakesTheConfigOfTheFolder) {
  TemporaryFile file(from_golden(""));
  auto config = read_config(file.path(), {});
  EXPECT_EQ(config.model.config.vocab_size, 128);
  EXPECT_EQ(config.model.config.initializer_range, 0.08);
  EXPECT_EQ(config.model.from, (kGolden / "olmoe").string());
  TemporaryFile resolved(resolved_yaml(config));
  EXPECT_EQ(resolved_yaml(read_config(resolved.path(), {})), resolved_yaml(config));
}

TEST(ModelFrom, KeysBesideItMayNotContradictTheFolder) {
  TemporaryFile equal(from_golden("  hidden_size: 32\n"));
  EXPECT_NO_THROW(read_config(equal.path(), {}));
  TemporaryFile other(from_golden("  hidden_size: 64\n"));
  auto failure = failure_of([&] { read_config(other.path(), {}); });
  EXPECT_EQ(failure.code, ExitCode::kConfiguration);
  EXPECT_THAT(
      failure.message,
      HasSubstr(":4:16: model.hidden_size: is 64, but 32 in the config.json of model.from"));
}

TEST(ModelFrom, AFolderThatIsNotThereIsNoInput) {
  TemporaryFile file(from_golden(""));
  auto failure = failure_of([&] { read_config(file.path(), {"--model.from=/nonexistent"}); });
  EXPECT_EQ(failure.code, ExitCode::kNoInput);
  EXPECT_THAT(failure.message, HasSubstr("--model.from=/nonexistent: model.from: "));
  auto both = failure_of([&] {
    read_config(file.path(), {"--model.from=/nonexistent", "--optimizer.lr=x"});
  });
  EXPECT_EQ(both.code, ExitCode::kConfiguration);
}

}  // namespace
}  // namespace moesaic::trainer
