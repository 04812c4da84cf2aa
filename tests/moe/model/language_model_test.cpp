// Shapes: B sequences, S positions, T = B*S tokens, V vocabulary.
#include "moe/model/language_model.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Reduction.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <mutex>
#include <tuple>

#include "moe/model/families/olmoe.h"
#include "tests/support/random_tensor.h"
#include "tests/support/spawn_ranks.h"
#include "tests/support/tensor_check.h"
#include "tests/support/training_mesh.h"

namespace moesaic::moe {
namespace {

using tests::all_close;
using tests::all_equal;
using tests::make_mesh;
using tests::make_single_mesh;

constexpr int64_t kPadding = 1;

ModelConfig make_config(int64_t num_experts = 4) {
  ModelConfig config;
  config.vocab_size = 23;
  config.hidden_size = 8;
  config.intermediate_size = 6;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 4;
  config.num_key_value_heads = 2;
  config.initializer_range = 0.5;
  config.num_experts = num_experts;
  config.num_experts_per_tok = std::min<int64_t>(num_experts, 2);
  config.pad_token_id = kPadding;
  return config;
}

ModelBuild make_build(const parallel::DeviceMesh& mesh) {
  return {.mesh = mesh, .moe = {}, .dtype = at::kDouble, .seed = 5, .fault = nullptr};
}

MicroBatch make_micro_batch(const ModelConfig& config) {
  MicroBatch micro_batch;
  micro_batch.input_ids_BS = tests::random_integers(config.vocab_size, {3, 5}, 1);
  micro_batch.targets_BS = tests::random_integers(config.vocab_size, {3, 5}, 2);
  micro_batch.input_ids_BS[0][2] = kPadding;
  micro_batch.targets_BS[0][1] = kIgnoredTarget;
  micro_batch.targets_BS[2].fill_(kIgnoredTarget);  // a sequence without a target
  return micro_batch;
}

using NamedTensors = std::map<std::string, at::Tensor>;

int64_t product(const std::vector<int64_t>& shape) {
  int64_t numel = 1;
  for (const int64_t size : shape) {
    numel *= size;
  }
  return numel;
}

// One zeroed tensor for each tensor of a checkpoint.
NamedTensors hub_tensors(const ModelConfig& config, at::ScalarType dtype) {
  NamedTensors tensors;
  for (const auto& tensor : olmoe_hub_tensors(config)) {
    EXPECT_TRUE(tensors.emplace(tensor.name, at::zeros(tensor.shape, dtype)).second) << tensor.name;
  }
  return tensors;
}

// The local values of `parameter`, laid into the tensors of a checkpoint.
void add_to_hub(const DeclaredParameter& parameter, const at::Tensor& local, NamedTensors& hub) {
  for (const auto& slice : parameter.slices) {
    ASSERT_EQ(hub.count(slice.tensor.name), 1u) << slice.tensor.name;
    auto& tensor = hub.at(slice.tensor.name);
    ASSERT_EQ(tensor.sizes(), at::IntArrayRef(slice.tensor.shape)) << slice.tensor.name;
    tensor.view({-1})
        .narrow(0, slice.tensor_offset, slice.numel)
        .add_(local.reshape({-1}).narrow(0, slice.parameter_offset, slice.numel));
  }
}

NamedTensors gradients_of(LanguageModel& model, const MicroBatch& micro_batch) {
  model.store().zero_gradients();
  model.loss_sum(micro_batch, {.training = true}).backward();
  auto gradients = hub_tensors(model.config(), at::kDouble);
  for (const auto& parameter : model.parameters()) {
    add_to_hub(parameter, parameter.spec.tensor->grad(), gradients);
  }
  return gradients;
}

void copy_weights(const LanguageModel& from, const LanguageModel& to) {
  const at::NoGradGuard no_grad;
  for (const auto& source : from.parameters()) {
    for (const auto& destination : to.parameters()) {
      if (destination.spec.name == source.spec.name) {
        destination.spec.tensor->copy_(*source.spec.tensor);
      }
    }
  }
}

TEST(LanguageModel, LossSumIsThatOfTheLogits) {
  const auto config = make_config();
  const auto mesh = make_single_mesh();
  const auto model = build_olmoe(config, make_build(mesh));
  const auto micro_batch = make_micro_batch(config);
  const auto logits_BSV = model->logits(micro_batch.input_ids_BS, {.training = false});
  ASSERT_EQ(logits_BSV.sizes(), at::IntArrayRef({3, 5, config.vocab_size}));
  const auto expected =
      at::cross_entropy_loss(logits_BSV.flatten(0, 1), micro_batch.targets_BS.flatten(),
                             /*weight=*/{}, at::Reduction::Sum, kIgnoredTarget);
  EXPECT_TRUE(all_close(model->loss_sum(micro_batch, {.training = false}), expected, 1e-12, 1e-12));
}

TEST(LanguageModel, EveryParameterHasTheGradientOfTheLogitsForm) {
  auto config = make_config();
  config.num_experts_per_tok = config.num_experts;  // none is without tokens
  const auto mesh = make_single_mesh();
  const auto model = build_olmoe(config, make_build(mesh));
  const auto micro_batch = make_micro_batch(config);
  const auto ours = gradients_of(*model, micro_batch);
  model->store().zero_gradients();
  at::cross_entropy_loss(model->logits(micro_batch.input_ids_BS, {.training = true}).flatten(0, 1),
                         micro_batch.targets_BS.flatten(), /*weight=*/{}, at::Reduction::Sum,
                         kIgnoredTarget)
      .backward();
  auto expected = hub_tensors(config, at::kDouble);
  for (const auto& parameter : model->parameters()) {
    add_to_hub(parameter, parameter.spec.tensor->grad(), expected);
  }
  for (const auto& [name, gradient] : expected) {
    EXPECT_TRUE(all_close(ours.at(name), gradient, 1e-10, 1e-12)) << name;
    EXPECT_GT(gradient.abs().max().item<double>(), 0.0) << name;
  }
}

TEST(LanguageModel, SequencesDoNotSeeEachOther) {
  const auto config = make_config();
  const auto mesh = make_single_mesh();
  const auto model = build_olmoe(config, make_build(mesh));
  const auto input_ids_BS = make_micro_batch(config).input_ids_BS;
  const auto together = model->logits(input_ids_BS, {});
  for (int64_t b = 0; b < 3; ++b) {
    EXPECT_TRUE(all_close(model->logits(input_ids_BS.narrow(0, b, 1), {}), together.narrow(0, b, 1),
                          1e-11, 1e-12));
  }
}

TEST(LanguageModel, TheRowOfThePaddingTokenGetsNoGradient) {
  auto config = make_config();
  const auto mesh = make_single_mesh();
  const auto micro_batch = make_micro_batch(config);
  const auto row = [&](std::optional<int64_t> pad_token_id) {
    config.pad_token_id = pad_token_id;
    const auto model = build_olmoe(config, make_build(mesh));
    return gradients_of(*model, micro_batch).at("model.embed_tokens.weight")[kPadding];
  };
  EXPECT_EQ(row(kPadding).abs().max().item<double>(), 0.0);
  EXPECT_GT(row(std::nullopt).abs().max().item<double>(), 1e-6);
}

TEST(LanguageModel, ATiedHeadIsTheEmbedding) {
  auto config = make_config();
  const auto mesh = make_single_mesh();
  const auto untied = build_olmoe(config, make_build(mesh));
  config.tie_word_embeddings = true;
  const auto tied = build_olmoe(config, make_build(mesh));
  {
    const at::NoGradGuard no_grad;
    copy_weights(*untied, *tied);
    untied->store().entry("lm_head").spec.tensor->copy_(
        *untied->store().entry("embed_tokens").spec.tensor);
  }
  const auto micro_batch = make_micro_batch(config);
  EXPECT_TRUE(all_equal(tied->logits(micro_batch.input_ids_BS, {}),
                        untied->logits(micro_batch.input_ids_BS, {})));
  const auto expected = gradients_of(*untied, micro_batch);
  const auto ours = gradients_of(*tied, micro_batch);
  EXPECT_EQ(ours.count("lm_head.weight"), 0u);
  EXPECT_TRUE(all_close(ours.at("model.embed_tokens.weight"),
                        expected.at("model.embed_tokens.weight") + expected.at("lm_head.weight"),
                        1e-12, 1e-14));
  EXPECT_EQ(count_olmoe_parameters(make_config()).total - count_olmoe_parameters(config).total,
            config.vocab_size * config.hidden_size);
}

// Four equal experts that are all chosen have weights that sum to one: they are one dense network.
TEST(LanguageModel, OneExpertIsTheDenseTwinOfEqualExperts) {
  const auto mesh = make_single_mesh();
  const auto dense = build_olmoe(make_config(1), make_build(mesh));
  auto config = make_config(4);
  config.num_experts_per_tok = 4;
  const auto sparse = build_olmoe(config, make_build(mesh));
  {
    const at::NoGradGuard no_grad;
    for (const auto& source : dense->parameters()) {
      const auto& destination = *sparse->store().entry(source.spec.name).spec.tensor;
      if (source.spec.name.find("router") == std::string::npos) {
        destination.copy_(source.spec.tensor->expand_as(destination));
      }
    }
  }
  const auto micro_batch = make_micro_batch(config);
  EXPECT_TRUE(all_close(sparse->loss_sum(micro_batch, {.training = true}),
                        dense->loss_sum(micro_batch, {.training = true}), 1e-12, 1e-12));
  EXPECT_EQ(count_olmoe_parameters(make_config(1)).total,
            count_olmoe_parameters(make_config(1)).active);
}

// OLMoE-1B-7B-0924: 6.9 billion parameters, 1.3 billion active (2409.02060, table 1).
TEST(CountOlmoeParameters, OfThePublishedModel) {
  ModelConfig config;
  config.intermediate_size = 1024;
  const auto count = count_olmoe_parameters(config);
  EXPECT_EQ(count.total, 6'919'161'856);
  EXPECT_EQ(count.active, 1'282'017'280);
}

// ----------------------------------------------------------------------------------- every layout
using Layout = std::tuple<int, int, int64_t>;  // ranks, expert, experts
class LayoutTest : public testing::TestWithParam<Layout> {};

TEST_P(LayoutTest, TheSlicesOfAllRanksCoverEveryTensorOnce) {
  const auto& [num_ranks, expert, num_experts] = GetParam();
  const auto config = make_config(num_experts);
  auto covered = hub_tensors(config, at::kLong);
  std::mutex mutex;
  tests::spawn_ranks(num_ranks, [&](parallel::CommunicatorPtr world) {
    const auto mesh = make_mesh(world, expert);
    const auto model = build_olmoe(config, make_build(mesh));
    const std::lock_guard lock(mutex);
    for (const auto& parameter : model->parameters()) {
      // Every element here belongs to one slice ...
      auto used = at::zeros({product(parameter.spec.shape)}, at::kLong);
      for (const auto& slice : parameter.slices) {
        used.narrow(0, slice.parameter_offset, slice.numel).add_(1);
      }
      EXPECT_TRUE(all_equal(used, at::ones_like(used))) << parameter.spec.name;
      // ... and counts once among its replicas.
      if (mesh.group(parameter.spec.replicated_over)->rank() == 0) {
        add_to_hub(parameter, at::ones(parameter.spec.shape, at::kLong), covered);
      }
    }
  });
  int64_t total = 0;
  for (const auto& [name, tensor] : covered) {
    EXPECT_TRUE(all_equal(tensor, at::ones_like(tensor))) << name;
    total += tensor.numel();
  }
  EXPECT_EQ(count_olmoe_parameters(config).total, total);
}

TEST_P(LayoutTest, InitialWeightsAreThoseOfOneRank) {
  const auto& [num_ranks, expert, num_experts] = GetParam();
  const auto config = make_config(num_experts);
  auto expected = hub_tensors(config, at::kDouble);
  const auto single = make_single_mesh();
  const auto whole = build_olmoe(config, make_build(single));
  for (const auto& parameter : whole->parameters()) {
    add_to_hub(parameter, parameter.spec.tensor->detach(), expected);
  }
  tests::spawn_ranks(num_ranks, [&](parallel::CommunicatorPtr world) {
    const auto mesh = make_mesh(world, expert);
    const auto model = build_olmoe(config, make_build(mesh));
    for (const auto& parameter : model->parameters()) {
      const auto flat = parameter.spec.tensor->detach().flatten();
      for (const auto& slice : parameter.slices) {
        EXPECT_TRUE(all_equal(
            flat.narrow(0, slice.parameter_offset, slice.numel),
            expected.at(slice.tensor.name).flatten().narrow(0, slice.tensor_offset, slice.numel)))
            << slice.tensor.name << " on rank " << world->rank();
      }
    }
  });
}

INSTANTIATE_TEST_SUITE_P(Grid, LayoutTest,
                         testing::Values(Layout{1, 1, 4}, Layout{2, 2, 4}, Layout{4, 4, 4},
                                         Layout{3, 3, 5}, Layout{4, 2, 5}, Layout{2, 1, 4}));

TEST(LanguageModel, InitialWeightsFollowTheConfig) {
  auto config = make_config();
  config.hidden_size = 32;
  config.initializer_range = 0.02;
  const auto mesh = make_single_mesh();
  const auto weights = [&](uint64_t seed) {
    auto build = make_build(mesh);
    build.seed = seed;
    auto hub = hub_tensors(config, at::kDouble);
    const auto model = build_olmoe(config, build);
    for (const auto& parameter : model->parameters()) {
      add_to_hub(parameter, parameter.spec.tensor->detach(), hub);
    }
    return hub;
  };
  const auto first = weights(5);
  const auto other = weights(6);
  for (const auto& [name, tensor] : first) {
    if (name.find("norm") != std::string::npos) {
      EXPECT_TRUE(all_equal(tensor, at::ones_like(tensor))) << name;
      continue;
    }
    // Cut at three standard deviations, whose own error is about 1/sqrt(2n).
    EXPECT_LE(tensor.abs().max().item<double>(), 0.06) << name;
    EXPECT_NEAR(tensor.std().item<double>() / (0.02 * 0.9866), 1.0,
                5.0 / std::sqrt(2.0 * static_cast<double>(tensor.numel())))
        << name;
    EXPECT_FALSE(all_equal(tensor, other.at(name))) << name;
  }
  // Different names draw different numbers.
  EXPECT_FALSE(all_equal(first.at("model.layers.0.mlp.experts.0.gate_proj.weight"),
                         first.at("model.layers.0.mlp.experts.1.gate_proj.weight")));
  EXPECT_FALSE(all_equal(first.at("model.layers.0.self_attn.k_proj.weight"),
                         first.at("model.layers.0.self_attn.v_proj.weight")));
}

}  // namespace
}  // namespace moesaic::moe
