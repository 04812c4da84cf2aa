#include "trainer/config/read_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "tests/trainer/config/config_text.h"

namespace moesaic::trainer {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

const std::filesystem::path kRoot = MOESAIC_SOURCE_DIR;

Config valid(const std::vector<std::string>& overrides = {}) {
  TemporaryFile file(kValidConfig);
  return read_config(file.path(), overrides);
}

TEST(ReadConfig, ReadsValuesAndFillsDefaults) {
  auto config = valid();
  EXPECT_EQ(config.name, "tiny");
  EXPECT_EQ(config.model.config.num_experts, 8);
  EXPECT_EQ(config.model.config.num_key_value_heads, 4);
  EXPECT_EQ(config.moe.capacity.factor, 1.25);
  EXPECT_EQ(config.moe.load_balance.coef, 0.01);
  EXPECT_THAT(config.data.sources.train, ElementsAre("a", "b"));
  EXPECT_EQ(config.trainer.run_dir, "runs/tiny");
  EXPECT_EQ(config.optimizer.lr, 1e-3);
  EXPECT_EQ(config.optimizer.weight_decay, 0.1);
  EXPECT_FALSE(config.checkpoint.interval.has_value());
}

TEST(ReadConfig, AFileThatIsNotThereIsNoInput) {
  auto failure = failure_of([] { read_config("/nonexistent/c.yaml", {}); });
  EXPECT_EQ(failure.code, ExitCode::kNoInput);
  EXPECT_EQ(failure.message, "/nonexistent/c.yaml: no such file");
}

TEST(ReadConfig, AnEmptySectionMeansDefaults) {
  TemporaryFile file(edited("  capacity:\n    factor: 1.25", "  capacity:"));
  EXPECT_FALSE(read_config(file.path(), {}).moe.capacity.factor.has_value());
}

TEST(ReadConfig, EveryFileOfConfigsLoads) {
  int num_files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(kRoot / "configs")) {
    if (entry.path().extension() != ".yaml") {
      continue;
    }
    ++num_files;
    auto config =
        read_config(entry.path(), {}, 64 / (entry.path().stem() == "olmoe_1b7b" ? 1 : 32));
    EXPECT_EQ(config.name, entry.path().stem());
  }
  EXPECT_GE(num_files, 5);
}

TEST(Overrides, ReplaceAndAddValues) {
  auto config = valid({"--moe={capacity: {policy: probability}}", "--moe.capacity.factor=null",
                       "--parallel.expert=2", "--optimizer.betas=[0.8,0.9]",
                       "--data.sources.train.0=x", "--data.sources.train.2=y",
                       "--data.sources.validation=[]", "--debug.force_balance=true", "--name=2024",
                       "--trainer.run_dir=\"a b\"", "--trainer.max_steps=1e3"});
  EXPECT_FALSE(config.moe.capacity.factor.has_value());
  EXPECT_EQ(config.moe.capacity.policy, moe::DropPolicy::kProbability);
  EXPECT_EQ(config.parallel.expert, 2);
  EXPECT_THAT(config.optimizer.betas, ElementsAre(0.8, 0.9));
  EXPECT_THAT(config.data.sources.train, ElementsAre("x", "b", "y"));
  EXPECT_THAT(config.data.sources.validation, IsEmpty());
  EXPECT_TRUE(config.debug.force_balance);
  EXPECT_EQ(config.name, "2024");
  EXPECT_EQ(config.trainer.run_dir, "a b");
  EXPECT_EQ(config.trainer.max_steps, 1000);
  EXPECT_EQ(config.origins.at("parallel.expert"), "--parallel.expert=2");
}

TEST(Overrides, ReachElementsOfADefaultList) {
  TemporaryFile file(edited("  betas: [0.9, 0.95]\n", ""));
  auto config = read_config(file.path(), {"--optimizer.betas.1=0.99"});
  EXPECT_THAT(config.optimizer.betas, ElementsAre(0.9, 0.99));
}

TEST(Overrides, AreRefusedWithTheSameDiagnostics) {
  const std::pair<std::string, std::string> kCases[] = {
      {"--moe.capacty.factor=1",
       "--moe.capacty.factor=1: moe.capacty: unknown key; did you mean "
       "'moe.capacity'?"},
      {"--moe.capacity.factor=abc", "must be a number > 0, or null; is 'abc'"},
      {"--moe.capacity.factor=", "has no value; write null for none"},
      {"--moe.capacity.factor.x=1", "moe.capacity.factor: is '1.25', no section"},
      {"--moe.capacity=1", "moe.capacity: must be a section, is '1'"},
      {"--data.sources.train.7=x", "data.sources.train: the list has 2 elements"},
      {"--optimizer.betas=[0.9", "--optimizer.betas=[0.9: "},
      {"--parallel..expert=2", "unknown key"},
      {"--checkpoint.async=false", "checkpoint.async: unknown key"},
      {"--norm=\xff", "is not UTF-8 text"},
      {"--checkpoint.interval=0", "checkpoint.interval: must be a whole number >= 1, or null"},
  };
  for (const auto& [text, message] : kCases) {
    auto failure = failure_of([&] { valid({text}); });
    EXPECT_EQ(failure.code, ExitCode::kConfiguration) << text;
    EXPECT_THAT(failure.message, HasSubstr(message)) << text;
  }
  auto undone = failure_of([&] { valid({"--optimizer.lr=1", "--optimizer={}"}); });
  EXPECT_THAT(undone.message, HasSubstr("--optimizer={}: optimizer: would undo optimizer.lr"));
  auto twice = failure_of([&] { valid({"--parallel.expert=1", "--parallel.expert=2"}); });
  EXPECT_THAT(twice.message, HasSubstr("is given twice on the command line"));
}

TEST(ReadOverrides, TakesWhatTheCommandTakesAndRequiresNothing) {
  const std::vector<std::string> kAllowed = {"parallel", "trainer", "data.micro_batch_size"};
  auto config = read_overrides({"--parallel.expert=4", "--data.micro_batch_size=2"}, kAllowed);
  EXPECT_EQ(config.parallel.expert, 4);
  EXPECT_EQ(config.data.micro_batch_size, 2);
  EXPECT_EQ(config.trainer.max_steps, 0);
  auto other = failure_of([&] { read_overrides({"--optimizer.lr=1"}, kAllowed); });
  EXPECT_EQ(other.code, ExitCode::kConfiguration);
  EXPECT_EQ(other.message,
            "--optimizer.lr=1: optimizer.lr: cannot be set for this command, which takes: "
            "parallel, trainer, data.micro_batch_size");
  auto unknown = failure_of([&] { read_overrides({"--parallel.exprt=1"}, kAllowed); });
  EXPECT_THAT(unknown.message, HasSubstr("did you mean 'parallel.expert'?"));
  auto section = failure_of([&] { read_overrides({"--data={seed: 3}"}, kAllowed); });
  EXPECT_THAT(section.message, HasSubstr("cannot be set for this command"));
}

TEST(ReadMoeSection, ReadsEveryGoldenFile) {
  int num_files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(kRoot / "tests/golden")) {
    num_files += std::filesystem::exists(entry.path() / "moe.yaml") ? 1 : 0;
  }
  EXPECT_GE(num_files, 3);
  auto moe = read_moe_section(kRoot / "tests/golden/olmoe_capacity_probability/moe.yaml",
                              {"--moe.dispatcher=local", "--parallel.expert=1"});
  EXPECT_EQ(moe.load_balance.scope, moe::BalanceScope::kGlobal);
  EXPECT_EQ(moe.load_balance.coef, 0.02);
  EXPECT_EQ(moe.router_z_loss_coef, 0.0);
  EXPECT_EQ(moe.capacity.factor, 0.75);
  EXPECT_EQ(moe.capacity.policy, moe::DropPolicy::kProbability);
  EXPECT_EQ(moe.dispatcher, moe::DispatcherKind::kLocal);
  auto dropless = read_moe_section(kRoot / "tests/golden/olmoe_switch/moe.yaml", {});
  EXPECT_FALSE(dropless.capacity.factor.has_value());
  auto position = read_moe_section(kRoot / "tests/golden/olmoe_capacity_position/moe.yaml", {});
  EXPECT_EQ(position.capacity.factor, 1.0);
  TemporaryFile other("moe:\n  capacity: {factor: 1}\nmodel: {}\n");
  auto failure = failure_of([&] { read_moe_section(other.path(), {}); });
  EXPECT_THAT(failure.message, HasSubstr(":3:1: model: unknown key"));
}

TEST(ResolvedYaml, ReadsBackToItself) {
  TemporaryFile file(
      edited("vocab_size: 320",
             "vocab_size: 320\n  architectures: [OlmoeForCausalLM]\n  id2label: {\"0\": \"on\"}\n"
             "  use_cache: false\n  torch_dtype: bfloat16\n  clip_qkv: 0.1"));
  auto config =
      read_config(file.path(), {"--name=\"007\"", "--trainer.run_dir=a: b",
                                "--optimizer.eps=5e-324", "--debug.fault=nan@step,step=2"});
  auto text = resolved_yaml(config);
  TemporaryFile resolved(text);
  auto again = read_config(resolved.path(), {});
  EXPECT_EQ(resolved_yaml(again), text);
  EXPECT_EQ(again.name, "007");
  EXPECT_EQ(again.trainer.run_dir, "a: b");
  EXPECT_EQ(again.optimizer.eps, 5e-324);
  EXPECT_EQ(again.debug.fault, "nan@step,step=2");
  EXPECT_EQ(again.model.config.clip_qkv, 0.1);
  EXPECT_EQ(again.model.config.carried, config.model.config.carried);
  EXPECT_EQ(again.model.config.carried.at("id2label"), R"({"0":"on"})");
  EXPECT_EQ(again.model.config.carried.at("torch_dtype"), "\"bfloat16\"");
}

TEST(ConfigDocs, EveryKeyHasTypeDefaultAndSentence) {
  std::set<std::string> keys;
  for (const auto& option : config_documents()) {
    EXPECT_TRUE(keys.insert(option.key).second) << option.key << " is declared twice";
    EXPECT_FALSE(option.help.empty()) << option.key;
    EXPECT_EQ(option.help.empty() ? '.' : option.help.back(), '.') << option.key << ": no sentence";
    if (!option.is_section()) {
      EXPECT_NE(option.required, !option.default_text.empty()) << option.key;
      EXPECT_THAT(config_docs(), HasSubstr(option.key + "\n    " + option.help));
    }
  }
  EXPECT_GE(keys.size(), 60u);
  EXPECT_THAT(config_docs(), HasSubstr("a number > 0, or null; default null"));
}

TEST(ConfigDocs, EveryDocumentedDefaultIsAccepted) {
  for (const auto& option : config_documents()) {
    bool text = option.is_section() || option.required || option.key == "model.eos_token_id";
    if (!text) {
      EXPECT_NO_THROW(read_overrides({"--" + option.key + "=" + option.default_text}, {option.key}))
          << option.key;
    }
  }
}

TEST(ResumeDifferences, RefusesWhatAltersTheMathematics) {
  auto before = resolved_yaml(valid());
  auto keys = [&](const std::vector<std::string>& overrides) {
    std::vector<std::string> keys;
    for (const auto& difference : resume_differences(before, valid(overrides))) {
      keys.push_back(difference.key + ": " + difference.before + " -> " + difference.now);
    }
    return keys;
  };
  EXPECT_THAT(keys({}), IsEmpty());
  EXPECT_THAT(keys({"--parallel.expert=2", "--data.micro_batch_size=1", "--trainer.max_steps=20",
                    "--logging.interval=1", "--checkpoint.interval=5", "--trainer.threads=1",
                    "--trainer.run_dir=elsewhere", "--data.sources.train=[moved]",
                    "--moe.dispatcher=all_to_all", "--debug.fault=nan@step,step=2",
                    "--data.sources.validation=[d]"}),
              IsEmpty());
  EXPECT_THAT(keys({"--optimizer.lr=2e-3", "--moe.capacity.factor=null", "--trainer.seed=3",
                    "--model.num_experts=4", "--debug.force_balance=true"}),
              ElementsAre("model.num_experts: 8 -> 4", "moe.capacity.factor: 1.25 -> null",
                          "optimizer.lr: 0.001 -> 0.002", "trainer.seed: 0 -> 3",
                          "debug.force_balance: false -> true"));
}

TEST(ResumeDifferences, MicroBatchSizeCountsWhereTheMathematicsDependOnIt) {
  auto before = resolved_yaml(valid({"--moe.load_balance.scope=micro_batch"}));
  auto now = valid({"--moe.load_balance.scope=micro_batch", "--data.micro_batch_size=1"});
  auto differences = resume_differences(before, now);
  ASSERT_EQ(differences.size(), 1u);
  EXPECT_EQ(differences[0].key, "data.micro_batch_size");
}

}  // namespace
}  // namespace moesaic::trainer
