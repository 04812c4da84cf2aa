// Most cases use a model whose blocks do nothing: the logits after a token are then a row of a
// table that the test writes.
#include "trainer/generation.h"

#include <ATen/Functions.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include "moe/model/families/olmoe.h"
#include "tests/support/spawn_ranks.h"
#include "tests/support/training_mesh.h"

namespace moesaic::trainer {
namespace {

using Tokens = std::vector<int64_t>;

constexpr int64_t kVocabulary = 8;

GenerationOptions greedy(int64_t max_new_tokens) {
  GenerationOptions options;
  options.max_new_tokens = max_new_tokens;
  return options;
}

GenerationOptions drawn(int64_t max_new_tokens, double temperature,
                        std::optional<int64_t> top_k = std::nullopt, uint64_t seed = 0) {
  auto options = greedy(max_new_tokens);
  options.temperature = temperature;
  options.top_k = top_k;
  options.seed = seed;
  return options;
}

moe::ModelConfig make_config() {
  moe::ModelConfig config;
  config.vocab_size = kVocabulary;
  config.hidden_size = kVocabulary;
  config.intermediate_size = 4;
  config.num_hidden_layers = 1;
  config.num_attention_heads = 2;
  config.num_experts = 2;
  config.num_experts_per_tok = 1;
  config.initializer_range = 1.0;
  config.max_position_embeddings = 4;
  config.pad_token_id.reset();
  config.eos_token_id = {};
  return config;
}

std::unique_ptr<moe::LanguageModel> build(const moe::ModelConfig& config,
                                          const parallel::DeviceMesh& mesh) {
  return moe::build_olmoe(
      config, {.mesh = mesh, .moe = {}, .dtype = at::kDouble, .seed = 3, .fault = nullptr});
}

class TableModel {
 public:
  explicit TableModel(const moe::ModelConfig& config = make_config())
      : model_(build(config, mesh_)) {
    const at::NoGradGuard no_grad;
    tensor("layers.0.self_attn.o_proj").zero_();
    tensor("layers.0.mlp.experts.down_proj").zero_();
    tensor("lm_head").zero_();
    // One-hot tokens, normalised to length sqrt(vocabulary).
    tensor("embed_tokens").copy_(at::eye(kVocabulary, at::kDouble));
  }
  /// Logits of the token after `token`; those not named are zero.
  TableModel& follow(int64_t token, const std::map<int64_t, double>& logits) {
    const at::NoGradGuard no_grad;
    for (const auto& [next, logit] : logits) {
      tensor("lm_head")[next][token] = logit / std::sqrt(static_cast<double>(kVocabulary));
    }
    return *this;
  }
  Tokens operator()(const Tokens& prompt, const GenerationOptions& options) {
    return generate(*model_, prompt, options);
  }

 private:
  const at::Tensor& tensor(const std::string& name) {
    return *model_->store().entry(name).spec.tensor;
  }
  parallel::DeviceMesh mesh_ = tests::make_single_mesh();
  std::unique_ptr<moe::LanguageModel> model_;
};

TEST(Generation, GreedyTakesTheLargestLogitAndOfEqualOnesTheLowestId) {
  TableModel model;
  model.follow(2, {{6, 1.0}}).follow(6, {{5, 2.0}, {3, 2.0}, {7, 1.0}}).follow(3, {{1, 0.5}});
  EXPECT_EQ(model({0, 2}, greedy(3)), (Tokens{6, 3, 1}));
  // Nothing follows 1: all logits are zero.
  EXPECT_EQ(model({1}, greedy(1)), Tokens{0});
  EXPECT_EQ(model({1}, greedy(0)), Tokens{});
}

TEST(Generation, StopsBeforeAnyEndToken) {
  auto config = make_config();
  config.eos_token_id = {7, 4};
  TableModel model(config);
  model.follow(1, {{2, 1.0}}).follow(2, {{4, 1.0}}).follow(3, {{7, 1.0}});
  EXPECT_EQ(model({1}, greedy(9)), Tokens{2});
  EXPECT_EQ(model({3}, greedy(9)), Tokens{});
  // An end token of the prompt does not stop.
  EXPECT_EQ(model({7}, greedy(2)), (Tokens{0, 0}));
}

// After every token: 1, 2 and 3 with probabilities 1/2, 1/3, 1/6 at temperature 1, all others none.
TableModel dice() {
  TableModel model;
  for (int64_t token = 0; token < kVocabulary; ++token) {
    model.follow(token, {{0, -100.0},
                         {1, std::log(3.0)},
                         {2, std::log(2.0)},
                         {3, 0.0},
                         {4, -100.0},
                         {5, -100.0},
                         {6, -100.0},
                         {7, -100.0}});
  }
  return model;
}

void expect_frequencies(const Tokens& tokens, const std::map<int64_t, double>& probabilities) {
  const auto n = static_cast<double>(tokens.size());
  for (int64_t token = 0; token < kVocabulary; ++token) {
    const auto found = probabilities.find(token);
    const double p = found == probabilities.end() ? 0.0 : found->second;
    EXPECT_NEAR(static_cast<double>(std::count(tokens.begin(), tokens.end(), token)), n * p,
                4.5 * std::sqrt(n * p * (1.0 - p)))
        << "token " << token;
  }
}

TEST(Generation, DrawsFollowTemperatureAndTopK) {
  auto model = dice();
  constexpr int64_t kDraws = 150;
  expect_frequencies(model({0}, drawn(kDraws, 1.0)), {{1, 1.0 / 2}, {2, 1.0 / 3}, {3, 1.0 / 6}});
  // Temperature 1/2 squares the odds.
  expect_frequencies(model({0}, drawn(kDraws, 0.5)), {{1, 9.0 / 14}, {2, 4.0 / 14}, {3, 1.0 / 14}});
  expect_frequencies(model({0}, drawn(kDraws, 1.0, 2)), {{1, 3.0 / 5}, {2, 2.0 / 5}});
  expect_frequencies(model({0}, drawn(20, 1.0, 1)), {{1, 1.0}});
}

TEST(Generation, DrawsAreAFunctionOfSeedAndPosition) {
  auto model = dice();
  const auto options = drawn(40, 1.0, std::nullopt, 1);
  const auto first = model({0}, options);
  EXPECT_EQ(model({0}, options), first);
  auto other = options;
  other.seed = 2;
  EXPECT_NE(model({0}, other), first);
  // The dice have no memory: a longer prompt continues where the draws of the shorter one are.
  const auto later = model({0, 0, 0}, options);
  EXPECT_EQ(Tokens(later.begin(), later.end() - 2), Tokens(first.begin() + 2, first.end()));
}

TEST(Generation, TheContextIsTheLastTokensAlone) {
  const auto mesh = tests::make_single_mesh();
  const auto model = build(make_config(), mesh);  // four positions
  const auto options = greedy(4);
  const auto expected = generate(*model, {4, 3, 2, 1}, options);
  ASSERT_EQ(expected.size(), 4u);
  EXPECT_EQ(generate(*model, {7, 5, 6, 4, 3, 2, 1}, options), expected);
  // Tokens inside the context are seen: some of them changes the continuation.
  bool changed = false;
  for (int64_t token = 0; token < kVocabulary; ++token) {
    changed = changed || generate(*model, {token, 3, 2, 1}, options) != expected;
  }
  EXPECT_TRUE(changed);
}

TEST(Generation, AllRanksComputeTheTokensOfOne) {
  const auto options = drawn(12, 1.0, std::nullopt, 4);
  const auto single = tests::make_single_mesh();
  const auto expected = generate(*build(make_config(), single), {1, 2}, options);
  tests::spawn_ranks(2, [&](parallel::CommunicatorPtr world) {
    const auto mesh = tests::make_mesh(world, /*expert=*/2);
    EXPECT_EQ(generate(*build(make_config(), mesh), {1, 2}, options), expected);
  });
}

}  // namespace
}  // namespace moesaic::trainer
