// Shapes: T tokens, D model width, E experts, K choices a token.
#include "moe/router.h"

#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include "moe/load_balance.h"
#include "parallel/thread_communicator.h"
#include "tests/support/gradcheck.h"
#include "tests/support/random_tensor.h"
#include "tests/support/tensor_check.h"

namespace moesaic::moe {
namespace {

using tests::all_close;
using tests::all_equal;
using tests::random_tensor;

constexpr int64_t kHidden = 6;
constexpr int64_t kExperts = 5;
constexpr int64_t kTopK = 2;
constexpr int64_t kSequences = 4;
constexpr int64_t kLength = 8;
constexpr int64_t kTokens = kSequences * kLength;

RouterOptions make_options() {
  RouterOptions options;
  options.hidden_size = kHidden;
  options.num_experts = kExperts;
  options.route = {.top_k = kTopK};
  return options;
}

Router make_router(const RouterOptions& options, at::ScalarType dtype = at::kDouble) {
  Router router(options);
  router.weight_ED = random_tensor({options.num_experts, kHidden}, 1, dtype);
  return router;
}

LayerContext make_context(bool training, RoutingStatistics* statistics = nullptr) {
  return {.num_sequences = kSequences,
          .sequence_length = kLength,
          .training = training,
          .statistics = statistics};
}

// The expert of each row, from the run lengths.
at::Tensor expert_of_rows(const kernels::DispatchPlan& plan) {
  return at::repeat_interleave(plan.num_rows_E);
}

TEST(Router, ChoosesTheLargestProbabilities) {
  const auto router = make_router(make_options());
  const auto x_TD = random_tensor({kTokens, kHidden}, 2);
  const auto routing = router(x_TD, make_context(false));
  const auto probs_TE = at::softmax(x_TD.mm(router.weight_ED.t()), -1);
  const auto [weights_TK, expert_idx_TK] = at::topk(probs_TE, kTopK, -1);
  EXPECT_TRUE(all_close(routing.weights_TK, weights_TK, 1e-13, 0));
  // The plan sends each choice to its expert.
  const auto experts_R = expert_of_rows(routing.plan);
  EXPECT_TRUE(all_equal(experts_R, expert_idx_TK.flatten().index_select(0, routing.plan.source_R)));
  EXPECT_EQ(experts_R.numel(), kTokens * kTopK);
  EXPECT_TRUE(
      all_equal(routing.plan.num_rows_E, at::bincount(expert_idx_TK.flatten(), {}, kExperts)));
}

TEST(Router, RenormalisesWhenTheModelDoes) {
  auto options = make_options();
  options.route.norm_topk_prob = true;
  const auto weights_TK =
      make_router(options)(random_tensor({kTokens, kHidden}, 2), make_context(false)).weights_TK;
  EXPECT_TRUE(all_close(weights_TK.sum(-1), at::ones({kTokens}, at::kDouble), 1e-13, 0));
}

TEST(Router, GradientsAreThoseOfCentralDifferences) {
  const auto weights = [](const std::vector<at::Tensor>& in) {
    Router router(make_options());
    router.weight_ED = in[1];
    return router(in[0], make_context(true)).weights_TK;
  };
  EXPECT_TRUE(tests::gradcheck(
      weights, {random_tensor({kTokens, kHidden}, 2), random_tensor({kExperts, kHidden}, 1)}));
}

TEST(Router, ComputesInAtLeastFloat32) {
  const auto router = make_router(make_options(), at::kBFloat16);
  const auto x_TD = random_tensor({kTokens, kHidden}, 2, at::kBFloat16);
  const auto routing = router(x_TD, make_context(false));
  const auto probs_TE =
      at::softmax(x_TD.to(at::kFloat).mm(router.weight_ED.to(at::kFloat).t()), -1);
  EXPECT_TRUE(
      all_close(routing.weights_TK, std::get<0>(at::topk(probs_TE, kTopK, -1)), 1e-6, 1e-6));
}

TEST(Router, CapacityActsInTrainingAlone) {
  for (const auto policy : {DropPolicy::kPosition, DropPolicy::kProbability}) {
    auto options = make_options();
    options.capacity = {.factor = 0.5, .group = CapacityGroup::kSequence, .policy = policy};
    const auto router = make_router(options);
    const auto x_TD = random_tensor({kTokens, kHidden}, 2);
    RoutingStatistics statistics(1, kExperts);
    const auto trained = router(x_TD, make_context(true, &statistics));
    // ceil(0.5 * 8 * 2 / 5) places an expert and sequence.
    constexpr int64_t kCapacity = 2;
    const auto kept_E =
        trained.plan.counts_GE.clamp_max(kCapacity).sum(0);  // every group keeps what it can
    EXPECT_TRUE(all_equal(trained.plan.num_rows_E, kept_E));
    EXPECT_EQ(statistics.dropped_L[0].item<int64_t>(),
              kTokens * kTopK - kept_E.sum().item<int64_t>());
    EXPECT_GT(statistics.dropped_L[0].item<int64_t>(), 0);
    // Counts are those before dropping.
    EXPECT_EQ(statistics.counts_LE.sum().item<int64_t>(), kTokens * kTopK);

    RoutingStatistics validation(1, kExperts);
    const auto validated = router(x_TD, make_context(false, &validation));
    EXPECT_EQ(validated.plan.source_R.numel(), kTokens * kTopK);
    EXPECT_EQ(validation.dropped_L[0].item<int64_t>(), 0);
    EXPECT_TRUE(all_equal(validated.weights_TK, trained.weights_TK));
  }
}

TEST(Router, TheDropPoliciesKeepDifferentChoices) {
  const auto kept = [](DropPolicy policy) {
    auto options = make_options();
    options.capacity = {.factor = 0.5, .policy = policy};
    return make_router(options)(random_tensor({kTokens, kHidden}, 2), make_context(true))
        .plan.row_of_choice_TK.ge(0);
  };
  EXPECT_FALSE(all_equal(kept(DropPolicy::kPosition), kept(DropPolicy::kProbability)));
}

// At the start of a training all weights are 1 / E and a little: they decide all the same.
TEST(Router, WeightsThatHardlyDifferStillDecideWhoIsDropped) {
  constexpr int64_t kManyTokens = 2048;
  auto options = make_options();
  options.capacity = {
      .factor = 0.5, .group = CapacityGroup::kMicroBatch, .policy = DropPolicy::kProbability};
  Router router(options);
  router.weight_ED = random_tensor({kExperts, kHidden}, 1, at::kFloat).mul(0.05);
  const LayerContext context = {
      .num_sequences = 1, .sequence_length = kManyTokens, .training = true};
  const auto x_TD = random_tensor({kManyTokens, kHidden}, 2, at::kFloat);
  const auto routing = router(x_TD, context);
  const auto expert_idx_TK = std::get<1>(at::topk(x_TD.mm(router.weight_ED.t()), kTopK, -1));
  const auto is_kept_TK = routing.plan.row_of_choice_TK.ge(0);
  for (int64_t e = 0; e < kExperts; ++e) {
    const auto of_expert_TK = expert_idx_TK.eq(e);
    const auto kept = routing.weights_TK.masked_select(of_expert_TK & is_kept_TK);
    const auto dropped = routing.weights_TK.masked_select(of_expert_TK & ~is_kept_TK);
    if (dropped.numel() > 0) {
      EXPECT_GT(kept.min().item<double>(), dropped.max().item<double>() * (1 - 5e-5));
    }
  }
}

// With capacity.group sequence the dropped set is the same, however sequences share micro-batches.
TEST(Router, TheDroppedSetOfASequenceDoesNotDependOnItsMicroBatch) {
  auto options = make_options();
  options.capacity = {.factor = 0.5};
  const auto router = make_router(options);
  const auto x_TD = random_tensor({kTokens, kHidden}, 2);
  const auto together_TK = router(x_TD, make_context(true)).plan.row_of_choice_TK.ge(0);
  for (int64_t b = 0; b < kSequences; ++b) {
    const LayerContext alone = {.num_sequences = 1, .sequence_length = kLength, .training = true};
    const auto alone_TK =
        router(x_TD.narrow(0, b * kLength, kLength), alone).plan.row_of_choice_TK.ge(0);
    EXPECT_TRUE(all_equal(alone_TK, together_TK.narrow(0, b * kLength, kLength)));
  }
}

TEST(Router, AMicroBatchCanShareOneCapacity) {
  auto options = make_options();
  options.capacity = {.factor = 0.5, .group = CapacityGroup::kMicroBatch};
  const auto plan =
      make_router(options)(random_tensor({kTokens, kHidden}, 2), make_context(true)).plan;
  ASSERT_EQ(plan.counts_GE.size(0), 1);
  constexpr int64_t kCapacity = 7;  // ceil(0.5 * 32 * 2 / 5)
  EXPECT_TRUE(all_equal(plan.num_rows_E, plan.counts_GE[0].clamp_max(kCapacity)));
  EXPECT_LT(plan.source_R.numel(), kTokens * kTopK);
}

TEST(Router, StatisticsAddUpOverMicroBatchesInTheirLayer) {
  auto options = make_options();
  options.layer_idx = 1;
  const auto router = make_router(options);
  RoutingStatistics statistics(3, kExperts);
  auto expected_E = at::zeros({kExperts}, at::kLong);
  for (const uint64_t seed : {2, 3}) {
    const auto routing =
        router(random_tensor({kTokens, kHidden}, seed), make_context(true, &statistics));
    expected_E.add_(routing.plan.num_rows_E);
  }
  EXPECT_TRUE(all_equal(statistics.counts_LE[1], expected_E));
  EXPECT_EQ(statistics.counts_LE.sum().item<int64_t>(), 2 * kTokens * kTopK);
  statistics.reset();
  EXPECT_EQ(statistics.counts_LE.sum().item<int64_t>(), 0);
}

TEST(Router, AMicroBatchWithoutTokensIsNoSpecialCase) {
  for (const auto group : {CapacityGroup::kSequence, CapacityGroup::kMicroBatch}) {
    auto options = make_options();
    options.capacity = {.factor = 1.0, .group = group};
    const LayerContext context = {.num_sequences = 0, .sequence_length = kLength, .training = true};
    const auto routing = make_router(options)(random_tensor({0, kHidden}, 2), context);
    EXPECT_EQ(routing.plan.source_R.numel(), 0);
    EXPECT_TRUE(all_equal(routing.plan.num_rows_E, at::zeros({kExperts}, at::kLong)));
  }
}

// ------------------------------------------------------------------------------- force_balance
struct Forced {
  at::Tensor expert_idx_TK;  // in order of expert
  at::Tensor weights_TK;
};

Forced force(int64_t first_token, int64_t num_tokens, int64_t layer_idx = 0, uint64_t seed = 9) {
  constexpr int64_t kMany = 8;
  auto options = make_options();
  options.num_experts = kMany;
  options.layer_idx = layer_idx;
  options.force_balance_seed = seed;
  const LayerContext context = {
      .num_sequences = 1, .sequence_length = num_tokens, .first_token = first_token};
  const auto routing = make_router(options)(random_tensor({num_tokens, kHidden}, 2), context);
  const auto experts_R = expert_of_rows(routing.plan);
  const auto expert_idx_TK = at::empty({num_tokens * kTopK}, at::kLong)
                                 .index_copy(0, routing.plan.source_R, experts_R)
                                 .view({num_tokens, kTopK});
  return {std::get<0>(expert_idx_TK.sort(-1)), routing.weights_TK};
}

TEST(ForceBalance, IsUniformOverDifferentExperts) {
  constexpr int64_t kMany = 8000;
  const auto forced = force(0, kMany);
  EXPECT_TRUE(
      forced.expert_idx_TK.select(1, 0).ne(forced.expert_idx_TK.select(1, 1)).all().item<bool>());
  EXPECT_TRUE(all_equal(forced.weights_TK, at::full({kMany, kTopK}, 0.5, at::kDouble)));
  // A token takes an expert with probability K/E = 1/4; a pair is one of 28.
  const auto counts = at::bincount(forced.expert_idx_TK.flatten(), {}, 8).to(at::kDouble);
  const double deviation = std::sqrt(kMany * 0.25 * 0.75);
  EXPECT_LT(counts.sub(kMany / 4.0).abs().max().item<double>(), 5 * deviation);
  const auto pair_T = forced.expert_idx_TK.select(1, 0).mul(8) + forced.expert_idx_TK.select(1, 1);
  const auto pairs = at::bincount(pair_T, {}, 64).to(at::kDouble);
  const auto seen = pairs.masked_select(pairs.gt(0));
  ASSERT_EQ(seen.numel(), 28);
  EXPECT_LT(seen.sub(kMany / 28.0).abs().max().item<double>(), 5 * std::sqrt(kMany / 28.0));
}

TEST(ForceBalance, IsAFunctionOfSeedLayerAndGlobalToken) {
  const auto whole = force(0, 40).expert_idx_TK;
  EXPECT_TRUE(all_equal(force(0, 16).expert_idx_TK, whole.narrow(0, 0, 16)));
  EXPECT_TRUE(all_equal(force(16, 24).expert_idx_TK, whole.narrow(0, 16, 24)));
  EXPECT_FALSE(all_equal(force(0, 40, /*layer_idx=*/1).expert_idx_TK, whole));
  EXPECT_FALSE(all_equal(force(0, 40, 0, /*seed=*/10).expert_idx_TK, whole));
}

// The weights are constants then: the router learns from the auxiliary losses alone.
TEST(ForceBalance, KeepsTheAuxiliaryGradients) {
  const auto x_TD = random_tensor({kTokens, kHidden}, 2);
  const auto gradient = [&](double coef, double z_coef) {
    MoeOptions moe;
    moe.load_balance.coef = coef;
    moe.router_z_loss_coef = z_coef;
    AuxiliaryLosses auxiliary(moe, /*num_layers=*/1, kExperts, kTopK,
                              parallel::make_single_communicator(), /*fault=*/nullptr);
    auxiliary.begin_step({kSequences, kLength, kSequences});
    auto options = make_options();
    options.force_balance_seed = 9;
    auto router = make_router(options);
    router.weight_ED.set_requires_grad(true);
    auto context = make_context(true);
    context.auxiliary = &auxiliary;
    const auto weights_TK = router(x_TD, context).weights_TK;
    auxiliary.finish_forward();
    (weights_TK.sum() + router.weight_ED.sum() * 0).backward();
    return router.weight_ED.grad();
  };
  EXPECT_EQ(gradient(0.0, 0.0).abs().max().item<double>(), 0.0);
  EXPECT_GT(gradient(0.1, 0.0).abs().max().item<double>(), 1e-6);
  const auto leaf_ED = make_router(make_options()).weight_ED.set_requires_grad(true);
  at::logsumexp(x_TD.mm(leaf_ED.t()), -1).square().mean().mul(0.1).backward();
  EXPECT_TRUE(all_close(gradient(0.0, 0.1), leaf_ED.grad(), 1e-12, 1e-15));
  EXPECT_TRUE(all_close(gradient(0.1, 0.1), gradient(0.1, 0.0) + gradient(0.0, 0.1), 1e-12, 1e-15));
}

}  // namespace
}  // namespace moesaic::moe
