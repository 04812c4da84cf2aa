// The corpus of wrong configurations: each must end with exit code 78, and name the place, the key
// and the rule.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/trainer/config/config_text.h"
#include "trainer/config/read_config.h"

namespace moesaic::trainer {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

struct BadConfig {
  const char* from;     ///< of the valid configuration
  const char* to;       ///< replaces it
  const char* place;    ///< line:column, or empty for the whole file
  const char* message;  ///< fragment that follows the place
};

const BadConfig kBadConfigs[] = {
    // unknown keys, and the nearest known one
    {"num_experts: 8", "num_expert: 8", "9:3",
     "model.num_expert: unknown key; did you mean 'model.num_experts'?"},
    {"  lr: 1e-3", "  learnig_rate: 1", "25:3",
     "optimizer.learnig_rate: unknown key; did you mean 'optimizer.lr'?"},
    {"optimizer:\n", "Optimizer:\n", "24:1", "Optimizer: unknown key; did you mean 'optimizer'?"},
    {"  lr: 1e-3", "  max_steps: 3", "25:3",
     "optimizer.max_steps: unknown key; did you mean 'trainer.max_steps'?"},
    {"name: tiny", "capacity_factor: 1\nname: tiny", "1:1",
     "capacity_factor: unknown key; did you mean 'moe.capacity.factor'?"},
    {"    factor: 1.25", "    factr: 1.25", "16:5",
     "moe.capacity.factr: unknown key; did you mean 'moe.capacity.factor'?"},
    {"  num_experts_per_tok: 2", "  top_k: 2", "10:3",
     "model.top_k: unknown key; did you mean 'model.num_experts_per_tok'?"},
    {"trainer:\n", "zzzzzzzzzz: 1\ntrainer:\n", "27:1", "zzzzzzzzzz: unknown key"},
    // required keys
    {"name: tiny\n", "", "1:1", "name: is required"},
    {"  max_steps: 10", "  seed: 10", "28:3", "trainer.max_steps: is required"},
    {"  sequence_length: 32\n", "", "18:3", "data.sequence_length: is required"},
    {"  global_batch_size: 8\n", "", "18:3", "data.global_batch_size: is required"},
    {"    train: [a, b]\n", "", "22:5", "data.sources.train: is required"},
    // null
    {"name: tiny", "name: null", "1:7", "name: must be a string; is null"},
    {"name: tiny", "name:", "1:1", "name: must be a string; is null"},
    {"max_steps: 10", "max_steps: ~", "28:14",
     "trainer.max_steps: must be a whole number >= 1; is null"},
    {"sequence_length: 32", "sequence_length:", "20:3", "data.sequence_length: must be a whole"},
    {"train: [a, b]", "train: null", "22:12", "data.sources.train: must be a list, each a string"},
    {"  capacity:\n    factor: 1.25", "  capacity: null", "15:13",
     "moe.capacity: must be a section, is null"},
    // wrong types
    {"vocab_size: 320", "vocab_size: abc", "3:15",
     "model.vocab_size: must be a whole number >= 1; is 'abc'"},
    {"vocab_size: 320", "vocab_size: \"320\"", "3:15", "is the string \"320\""},
    {"vocab_size: 320", "vocab_size: 320.0", "3:15", "which is not a whole number"},
    {"vocab_size: 320", "vocab_size: 0500", "3:15", "leading zero"},
    {"vocab_size: 320", "vocab_size: 0x140", "3:15", "is '0x140'"},
    {"vocab_size: 320", "vocab_size: 9223372036854775808", "3:15", "does not fit in 64 bits"},
    {"vocab_size: 320", "vocab_size: [320]", "3:15", "is a list"},
    {"vocab_size: 320", "vocab_size: {a: 1}", "3:15", "is a section"},
    {"vocab_size: 320", "norm_topk_prob: yes", "3:19",
     "model.norm_topk_prob: must be true or false; is 'yes'"},
    {"vocab_size: 320", "norm_topk_prob: on", "3:19", "must be true or false"},
    {"vocab_size: 320", "norm_topk_prob: 1", "3:19", "must be true or false"},
    {"vocab_size: 320", "norm_topk_prob: \"true\"", "3:19", "must be true or false"},
    {"name: tiny", "name: 123", "1:7", "name: must be a string; is '123', which needs quotes"},
    {"name: tiny", "name: [a]", "1:7", "name: must be a string; is a list"},
    {"train: [a, b]", "train: a", "22:12", "must be a list, each a string; is 'a'"},
    {"train: [a, b]", "train: []", "22:12", "has no element"},
    {"train: [a, b]", "train: [a, ~]", "22:12", "element 1 is null"},
    {"train: [a, b]", "train: [a, \"\"]", "22:12", "element 1 is the string \"\", which is empty"},
    {"train: [a, b]", "train: [\"a\\nb\"]", "22:12", "which has a control character"},
    {"data:\n", "logging: 3\ndata:\n", "17:10", "logging: must be a section, is '3'"},
    // out of range
    {"hidden_size: 32", "hidden_size: 0", "4:16",
     "model.hidden_size: must be a whole number >= 1; is '0'"},
    {"global_batch_size: 8", "global_batch_size: -8", "18:22", "must be a whole number >= 1"},
    {"factor: 1.25", "factor: 0", "16:13", "must be a number > 0, or null; is '0'"},
    {"factor: 1.25", "factor: -1", "16:13", "must be a number > 0, or null; is '-1'"},
    {"factor: 1.25", "factor: .nan", "16:13", "is '.nan', which is not finite"},
    {"lr: 1e-3", "lr: .inf", "25:7", "optimizer.lr: must be a number > 0; is '.inf'"},
    {"lr: 1e-3", "lr: 1e-400", "25:7", "too large or too small"},
    {"lr: 1e-3", "lr: 010", "25:7", "leading zero"},
    {"betas: [0.9, 0.95]", "betas: [0.9]", "26:10",
     "must be a list of 2, each a number >= 0 and < 1; has 1 elements"},
    {"betas: [0.9, 0.95]", "betas: [0.9, 1.0]", "26:10", "element 1 is '1.0'"},
    {"scope: sequence", "scope: gloabl", "14:12",
     "moe.load_balance.scope: must be one of sequence, micro_batch, global; is 'gloabl'; did you "
     "mean 'global'?"},
    {"scope: sequence", "scope: Sequence", "14:12", "did you mean 'sequence'?"},
    {"scope: sequence", "scope: null", "14:12", "is null"},
    {"trainer:\n", "trainer:\n  threads: 0\n", "28:12",
     "must be a whole number >= 1 and <= 1024, or null"},
    // impossible combinations
    {"num_experts_per_tok: 2", "num_experts_per_tok: 9", "10:24",
     "num_experts_per_tok (9) must not be larger than num_experts (8)"},
    {"num_attention_heads: 4", "num_attention_heads: 5", "7:24",
     "num_attention_heads (5) must divide hidden_size (32)"},
    {"num_attention_heads: 4", "num_attention_heads: 32", "7:24", "even head dimension"},
    {"vocab_size: 320", "vocab_size: 320\n  num_key_value_heads: 3", "4:24",
     "num_key_value_heads (3) must divide num_attention_heads (4)"},
    {"num_experts_per_tok: 2", "num_experts_per_tok: 1\n  norm_topk_prob: true", "11:19",
     "the router gets no gradient"},
    {"eos_token_id: 256", "eos_token_id: [256, 320]", "11:17",
     "eos_token_id (320) must be smaller than vocab_size (320)"},
    {"  eos_token_id: 256\n", "", "3:15", "eos_token_id (50279) must be smaller"},
    {"eos_token_id: 256", "eos_token_id: 256\n  pad_token_id: 999", "12:17",
     "Hugging Face could not load the checkpoints"},
    {"vocab_size: 320", "attention_bias: true\n  vocab_size: 320", "3:19", "not supported"},
    {"vocab_size: 320", "attention_dropout: 0.1\n  vocab_size: 320", "3:22",
     "dropout is not supported; must be 0.0, is 0.1"},
    {"vocab_size: 320", "hidden_act: gelu\n  vocab_size: 320", "3:15",
     "activation 'gelu' is not supported; must be silu"},
    {"vocab_size: 320", "rope_scaling: {rope_type: yarn}\n  vocab_size: 320", "3:29",
     "model.rope_scaling.rope_type: must be default"},
    {"vocab_size: 320", "rope_theta: 1e4\n  rope_parameters: {rope_theta: 5e5}\n  vocab_size: 320",
     "4:33", "is '5e5', but rope_theta is '1e4'; give one of the two"},
    {"vocab_size: 320", "model_type: mixtral\n  vocab_size: 320", "3:15",
     "model family is not supported; must be olmoe; is 'mixtral'"},
    {"sequence_length: 32", "sequence_length: 65", "20:20",
     "data.sequence_length (65) must not be larger than model.max_position_embeddings (64)"},
    {"name: tiny", "name: tiny run", "1:7", "name: must consist of"},
    {"name: tiny", "name: ../up", "1:7", "letters, digits, '.', '_' and '-'"},
    {"name: tiny", "name: ..", "1:7", "letters, digits, '.', '_' and '-'"},
    {"trainer:\n", "lr_schedule: {warmup_steps: 2, warmup_fraction: 0.1}\ntrainer:\n", "27:49",
     "exclude each other"},
    {"trainer:\n", "lr_schedule: {warmup_steps: 11}\ntrainer:\n", "27:29",
     "warmup_steps (11) must not be larger than trainer.max_steps (10)"},
    {"    validation: [c]\n", "logging: {validation_interval: 5}\n", "23:32",
     "validation needs token files"},
    {"scope: sequence", "formula: hf", "14:14", "goes with scope: global only"},
    {"moe:\n", "parallel: {expert: 9}\nmoe:\n", "12:20",
     "parallel.expert (9) must not be larger than model.num_experts (8)"},
    {"moe:\n", "parallel: {expert: 2}\nmoe:\n  dispatcher: local\n", "14:15",
     "dispatcher: local moves no rows"},
    {"global_batch_size: 8", "global_batch_size: 1e12", "18:22", "1e12 is the limit"},
    {"vocab_size: 320", "vocab_size: 1e14", "4:16", "1e15 is the limit"},
    {"num_hidden_layers: 2", "num_hidden_layers: 1e18", "6:22", ">= 1 and <= 10000"},
    {"max_steps: 10", "max_steps: 10\n  threads: 4294967297", "29:12", ">= 1 and <= 1024"},
    {"max_steps: 10", "max_steps: 1e17", "28:14", "1e18 is the limit"},
    // not even a tree
    {"name: tiny", "name: tiny\nname: other", "2:1", "duplicate key 'name', first given at"},
    {"name: tiny", "name: &a tiny", "1:7", "anchors (&name) are not supported"},
    {"name: tiny", "name: [tiny", "2:6", "end of sequence flow not found"},
};

TEST(BadConfig, EachNamesPlaceKeyAndRule) {
  for (const auto& bad : kBadConfigs) {
    SCOPED_TRACE(std::string(bad.to) + " at " + bad.place);
    TemporaryFile file(edited(bad.from, bad.to));
    auto failure = failure_of([&] { read_config(file.path(), {}); });
    EXPECT_EQ(failure.code, ExitCode::kConfiguration);
    std::string place = *bad.place == '\0' ? "" : std::string(":") + bad.place;
    // The message begins with the place: one mistake is one error, and nothing else is blamed.
    EXPECT_THAT(failure.message, StartsWith(file.path().string() + place + ": "));
    EXPECT_THAT(failure.message, HasSubstr(bad.message));
  }
}

TEST(BadConfig, ReportsEveryErrorInOnePassInTheOrderOfTheFile) {
  auto text = edited("hidden_size: 32", "hidden_size: x");
  text.replace(text.find("max_steps: 10"), 13, "max_stps: 10");
  TemporaryFile file(text);
  auto failure = failure_of([&] {
    read_config(file.path(), {"--moe.capacity.factr=1", "--data.micro_batch_size=0"});
  });
  auto name = file.path().string();
  EXPECT_THAT(failure.message, HasSubstr("5 errors in the configuration\n" + name + ":4:16: "));
  EXPECT_THAT(failure.message,
              AllOf(HasSubstr(name + ":28:3: trainer.max_steps: is required"),
                    HasSubstr(name + ":28:3: trainer.max_stps: unknown key"),
                    HasSubstr("\n--moe.capacity.factr=1: moe.capacity.factr: unknown key; did you "
                              "mean 'moe.capacity.factor'?"),
                    HasSubstr("\n--data.micro_batch_size=0: data.micro_batch_size: must be a whole "
                              "number >= 1; is '0'")));
}

struct BadWorld {
  int64_t world_size;
  std::vector<std::string> overrides;
  const char* message;
};

TEST(BadConfig, ChecksTheRulesOfTheRanks) {
  const BadWorld kCases[] = {
      {3, {"--parallel.expert=2"}, "parallel.expert (2) must divide the number of ranks (3)"},
      {3, {}, "data.global_batch_size (8) must be divisible by the 3 ranks that share it; 6 or 9"},
      {16, {}, "must be divisible by the 16 ranks that share it; 16 would work"},
      {2,
       {"--data.micro_batch_size=3"},
       "data.micro_batch_size (3) must divide the 4 sequences of each of the 2 ranks; it could be "
       "1, 2, 4"},
      {2,
       {"--moe.load_balance.scope=global"},
       "one micro-batch a rank; here a rank has 2: set data.micro_batch_size to 4"},
      {2,
       {"--moe.load_balance.scope=global", "--moe.load_balance.formula=hf"},
       "scope: global needs the counts of the whole step"},
  };
  TemporaryFile file(kValidConfig);
  for (const auto& bad : kCases) {
    auto failure = failure_of([&] { read_config(file.path(), bad.overrides, bad.world_size); });
    EXPECT_EQ(failure.code, ExitCode::kConfiguration) << bad.message;
    EXPECT_THAT(failure.message, HasSubstr(bad.message));
    auto config = read_config(file.path(), bad.overrides);  // the ranks are not known: fine
    auto again = failure_of([&] { check_config(config, bad.world_size); });
    EXPECT_EQ(again.message, failure.message);
  }
  EXPECT_NO_THROW(read_config(file.path(), {"--parallel.expert=2"}, 4));
  EXPECT_NO_THROW(read_config(file.path(),
                              {"--moe.load_balance.scope=global", "--data.micro_batch_size=4"}, 2));
}

}  // namespace
}  // namespace moesaic::trainer
