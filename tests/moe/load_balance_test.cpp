// Shapes: L layers, T tokens, E experts, K choices a token, B sequences, S positions.
#include "moe/load_balance.h"

#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include <functional>
#include <tuple>

#include "kernels/ops.h"
#include "tests/support/random_tensor.h"
#include "tests/support/spawn_ranks.h"
#include "tests/support/tensor_check.h"

namespace moesaic::moe {
namespace {

using parallel::FaultInjection;
using tests::all_close;
using tests::all_equal;
using tests::random_tensor;

constexpr int64_t kLayers = 2;
constexpr int64_t kExperts = 5;
constexpr int64_t kTopK = 2;
constexpr StepShape kShape = {.num_sequences = 4, .sequence_length = 3, .micro_batch_sequences = 2};
constexpr double kCoef = 0.7;
constexpr double kZCoef = 0.3;

// Coarse values and a slope over the experts: no choice tips within a difference step.
at::Tensor make_logits(uint64_t seed) {
  return random_tensor({kLayers, kShape.num_tokens(), kExperts}, seed)
      .mul(4)
      .round()
      .div(4)
      .add(at::arange(kExperts, at::kDouble).mul(0.01));
}

// ------------------------------------------------------------------ the formulas, written directly
// E / (K T) * sum_e n_e pbar_e of each group, mean over groups and layers.
double switch_value(const at::Tensor& logits_LTE, int64_t group_tokens) {
  double total = 0.0;
  const int64_t num_groups = logits_LTE.size(1) / group_tokens;
  for (int64_t layer = 0; layer < logits_LTE.size(0); ++layer) {
    for (int64_t group = 0; group < num_groups; ++group) {
      const auto logits = logits_LTE[layer].narrow(0, group * group_tokens, group_tokens);
      const auto probs = at::softmax(logits, -1);
      const auto chosen = std::get<1>(at::topk(logits, kTopK, -1));
      const auto choices_E = at::one_hot(chosen, kExperts).sum({0, 1}).to(at::kDouble);
      total += static_cast<double>(kExperts) / static_cast<double>(kTopK * group_tokens) *
               choices_E.dot(probs.mean(0)).item<double>();
    }
  }
  return total / static_cast<double>(logits_LTE.size(0) * num_groups);
}

// load_balancing_loss_func of transformers' modeling_olmoe.py, line by line.
double hugging_face_value(const at::Tensor& logits_LTE) {
  const auto concatenated = logits_LTE.reshape({-1, kExperts});
  const auto routing_weights = at::softmax(concatenated, -1);
  const auto selected_experts = std::get<1>(at::topk(routing_weights, kTopK, -1));
  const auto expert_mask = at::one_hot(selected_experts, kExperts);
  const auto tokens_per_expert = expert_mask.to(at::kDouble).mean(0);  // [K, E]
  const auto router_prob_per_expert = routing_weights.mean(0);
  return (tokens_per_expert * router_prob_per_expert.unsqueeze(0)).sum().item<double>() *
         static_cast<double>(kExperts);
}

double z_value(const at::Tensor& logits_LTE) {
  return logits_LTE.exp().sum(-1).log().square().mean().item<double>();
}

double direct_value(BalanceFormula formula, BalanceScope scope, const at::Tensor& logits_LTE) {
  if (formula == BalanceFormula::kHuggingFace) {
    return hugging_face_value(logits_LTE);
  }
  const int64_t group_sequences = scope == BalanceScope::kSequence ? 1
                                  : scope == BalanceScope::kMicroBatch
                                      ? kShape.micro_batch_sequences
                                      : kShape.num_sequences;
  return switch_value(logits_LTE, group_sequences * kShape.sequence_length);
}

at::Tensor central_differences(const std::function<double(const at::Tensor&)>& function,
                               const at::Tensor& at_point) {
  constexpr double kStep = 1e-5;
  auto x = at_point.clone();
  auto gradient = at::zeros_like(x);
  auto* value = x.data_ptr<double>();
  for (int64_t i = 0; i < x.numel(); ++i) {
    const double centre = value[i];
    value[i] = centre + kStep;
    const double above = function(x);
    value[i] = centre - kStep;
    gradient.data_ptr<double>()[i] = (above - function(x)) / (2 * kStep);
    value[i] = centre;
  }
  return gradient;
}

// ------------------------------------------------------------------------------- what training
// does
MoeOptions make_options(BalanceFormula formula, BalanceScope scope, std::optional<double> coef,
                        std::optional<double> z_coef = std::nullopt) {
  MoeOptions options;
  options.load_balance = {formula, scope, coef};
  options.router_z_loss_coef = z_coef;
  return options;
}

AuxiliaryLosses make_auxiliary(
    const MoeOptions& options,
    parallel::CommunicatorPtr data = parallel::make_single_communicator(),
    FaultInjection* fault = nullptr) {
  return AuxiliaryLosses(options, kLayers, kExperts, kTopK, std::move(data), fault);
}

// Injects at every layer of every micro-batch of tokens [begin, end), then backward from an
// objective that is zero: the gradient of the logits is the injected one alone.
at::Tensor injected_gradient(AuxiliaryLosses& auxiliary, const at::Tensor& logits_LTE,
                             int64_t begin = 0, int64_t end = kShape.num_tokens()) {
  const auto leaf_LTE = logits_LTE.clone().set_requires_grad(true);
  const int64_t step = kShape.micro_batch_sequences * kShape.sequence_length;
  auxiliary.begin_step(kShape);
  auto objective = at::zeros({}, at::kDouble);
  for (int64_t first = begin; first < end; first += step) {
    for (int64_t layer = 0; layer < kLayers; ++layer) {
      const auto logits_TE = leaf_LTE[layer].narrow(0, first, step);
      const auto routed = kernels::route_tokens(logits_TE, {.top_k = kTopK});
      const auto weights_TK = auxiliary.inject(routed, layer);
      EXPECT_TRUE(all_equal(weights_TK, routed.weights_TK));
      objective = objective + weights_TK.sum() * 0.0;
    }
  }
  auxiliary.finish_forward();
  objective.backward();
  return leaf_LTE.grad();
}

using Case = std::tuple<BalanceFormula, BalanceScope>;
class LoadBalanceTest : public testing::TestWithParam<Case> {
 protected:
  MoeOptions options(std::optional<double> coef) const {
    return make_options(formula_, scope_, coef);
  }
  double value(const at::Tensor& logits_LTE) const {
    return direct_value(formula_, scope_, logits_LTE);
  }
  const BalanceFormula formula_ = std::get<0>(GetParam());
  const BalanceScope scope_ = std::get<1>(GetParam());
  const at::Tensor logits_LTE_ = make_logits(1);
};

TEST_P(LoadBalanceTest, ValueIsTheFormula) {
  auto auxiliary = make_auxiliary(options(kCoef));
  injected_gradient(auxiliary, logits_LTE_);
  EXPECT_NEAR(auxiliary.local_values().load_balance, value(logits_LTE_), 1e-12);
  // A second step knows nothing of the first.
  const auto others_LTE = make_logits(2);
  injected_gradient(auxiliary, others_LTE);
  EXPECT_NEAR(auxiliary.local_values().load_balance, value(others_LTE), 1e-12);
  EXPECT_GT(std::abs(value(others_LTE) - value(logits_LTE_)), 1e-3);
}

TEST_P(LoadBalanceTest, InjectsTheGradientOfCoefTimesValue) {
  auto auxiliary = make_auxiliary(options(kCoef));
  const auto expected_LTE = central_differences(
      [&](const at::Tensor& logits_LTE) { return kCoef * value(logits_LTE); }, logits_LTE_);
  EXPECT_GT(expected_LTE.abs().max().item<double>(), 1e-3);
  EXPECT_TRUE(all_close(injected_gradient(auxiliary, logits_LTE_), expected_LTE, 1e-8, 1e-9));
}

TEST_P(LoadBalanceTest, BalancedRoutingHasItsKnownValue) {
  // Token t prefers experts t, t + 1, ... (mod E): every expert is chosen K times, mean
  // probabilities are 1/E. As many tokens as experts, so that each group holds whole rounds.
  constexpr StepShape kBalanced = {
      .num_sequences = 2, .sequence_length = kExperts, .micro_batch_sequences = 1};
  auto auxiliary = make_auxiliary(options(kCoef));
  auxiliary.begin_step(kBalanced);
  auto logits_TE = at::empty({kExperts, kExperts}, at::kDouble);
  for (int64_t t = 0; t < kExperts; ++t) {
    for (int64_t j = 0; j < kExperts; ++j) {
      logits_TE[t][(t + j) % kExperts] = -0.5 * static_cast<double>(j);
    }
  }
  const auto routed = kernels::route_tokens(logits_TE, {.top_k = kTopK});
  for (int64_t sequence = 0; sequence < kBalanced.num_sequences; ++sequence) {
    for (int64_t layer = 0; layer < kLayers; ++layer) {
      auxiliary.inject(routed, layer);
    }
  }
  auxiliary.finish_forward();
  const double expected = formula_ == BalanceFormula::kSwitch ? 1.0 : static_cast<double>(kTopK);
  EXPECT_NEAR(auxiliary.local_values().load_balance, expected, 1e-12);
}

TEST_P(LoadBalanceTest, WithoutACoefficientTheValueIsLoggedAndNothingInjected) {
  for (const auto coef : {std::optional<double>(0.0), std::optional<double>()}) {
    auto auxiliary = make_auxiliary(options(coef));
    const auto gradient_LTE = injected_gradient(auxiliary, logits_LTE_);
    EXPECT_EQ(gradient_LTE.abs().max().item<double>(), 0.0);
    EXPECT_NEAR(auxiliary.local_values().load_balance, value(logits_LTE_), 1e-12);
  }
}

// Each of two ranks sees one micro-batch: values add up, gradients are the parts of the whole.
TEST_P(LoadBalanceTest, DataRanksAddUpToTheWholeBatch) {
  auto whole = make_auxiliary(options(kCoef));
  const auto expected_LTE = injected_gradient(whole, logits_LTE_);
  const int64_t half = kShape.num_tokens() / 2;
  std::array<double, 2> values = {};
  tests::spawn_ranks(2, [&](parallel::CommunicatorPtr data) {
    auto auxiliary = make_auxiliary(options(kCoef), data);
    const int64_t begin = data->rank() * half;
    const auto gradient_LTE = injected_gradient(auxiliary, logits_LTE_, begin, begin + half);
    values[data->rank()] = auxiliary.local_values().load_balance;
    EXPECT_TRUE(all_close(gradient_LTE.narrow(1, begin, half), expected_LTE.narrow(1, begin, half),
                          1e-12, 1e-15));
  });
  EXPECT_NEAR(values[0] + values[1], value(logits_LTE_), 1e-12);
}

TEST_P(LoadBalanceTest, DoubleAuxDoublesTheGradientAndNotTheValue) {
  auto plain = make_auxiliary(options(kCoef));
  const auto gradient_LTE = injected_gradient(plain, logits_LTE_);
  FaultInjection fault;
  fault.kind = FaultInjection::Kind::double_aux;
  fault.active = true;
  auto broken = make_auxiliary(options(kCoef), parallel::make_single_communicator(), &fault);
  EXPECT_TRUE(all_close(injected_gradient(broken, logits_LTE_), gradient_LTE.mul(2), 1e-12, 1e-15));
  EXPECT_DOUBLE_EQ(broken.local_values().load_balance, plain.local_values().load_balance);
  EXPECT_GT(fault.hits.load(), 0);
}

TEST_P(LoadBalanceTest, StaleCountsChangeTheGradient) {
  FaultInjection fault;
  fault.kind = FaultInjection::Kind::stale_count;
  fault.active = true;
  auto plain = make_auxiliary(options(kCoef));
  auto broken = make_auxiliary(options(kCoef), parallel::make_single_communicator(), &fault);
  injected_gradient(broken, make_logits(2));  // so that there are counts of a previous step
  const auto stale_LTE = injected_gradient(broken, logits_LTE_);
  const auto right_LTE = injected_gradient(plain, logits_LTE_);
  EXPECT_GT((stale_LTE - right_LTE).abs().max().item<double>(), 1e-3);
  EXPECT_GT(fault.hits.load(), 0);
}

TEST_P(LoadBalanceTest, AMicroBatchWithoutTokensIsNoSpecialCase) {
  auto auxiliary = make_auxiliary(make_options(formula_, scope_, kCoef, kZCoef));
  auxiliary.begin_step(kShape);
  const auto logits_TE = at::zeros({0, kExperts}, at::kDouble).set_requires_grad(true);
  const auto routed = kernels::route_tokens(logits_TE, {.top_k = kTopK});
  const auto weights_TK = auxiliary.inject(routed, 0);
  auxiliary.finish_forward();
  weights_TK.sum().backward();
  EXPECT_EQ(logits_TE.grad().size(0), 0);
  EXPECT_EQ(auxiliary.local_values().load_balance, 0.0);
  EXPECT_EQ(auxiliary.local_values().router_z, 0.0);
}

// The z-loss is a mean over tokens, whatever the groups of the other loss are.
TEST_P(LoadBalanceTest, RouterZIsTheSameBesideIt) {
  auto auxiliary = make_auxiliary(make_options(formula_, scope_, 0.0, kZCoef));
  const auto gradient_LTE = injected_gradient(auxiliary, logits_LTE_);
  EXPECT_NEAR(auxiliary.local_values().router_z, z_value(logits_LTE_), 1e-12);
  const auto expected_LTE =
      central_differences([](const at::Tensor& x) { return kZCoef * z_value(x); }, logits_LTE_);
  EXPECT_TRUE(all_close(gradient_LTE, expected_LTE, 1e-8, 1e-9));
}

INSTANTIATE_TEST_SUITE_P(Grid, LoadBalanceTest,
                         testing::Values(Case{BalanceFormula::kSwitch, BalanceScope::kSequence},
                                         Case{BalanceFormula::kSwitch, BalanceScope::kMicroBatch},
                                         Case{BalanceFormula::kSwitch, BalanceScope::kGlobal},
                                         Case{BalanceFormula::kHuggingFace,
                                              BalanceScope::kGlobal}));

// Counts that are still local would give a wrong gradient without a word.
TEST(LoadBalance, GlobalCountsNeedFinishForwardBeforeTheBackward) {
  for (const auto formula : {BalanceFormula::kSwitch, BalanceFormula::kHuggingFace}) {
    auto auxiliary = make_auxiliary(make_options(formula, BalanceScope::kGlobal, kCoef));
    auxiliary.begin_step(kShape);
    const auto logits_TE = make_logits(1)[0].set_requires_grad(true);
    const auto routed = kernels::route_tokens(logits_TE, {.top_k = kTopK});
    const auto weights_TK = auxiliary.inject(routed, 0);
    EXPECT_THROW(weights_TK.sum().backward(), c10::Error);
  }
}

TEST(LoadBalance, TheGradientOfTheWeightsPassesThrough) {
  auto auxiliary =
      make_auxiliary(make_options(BalanceFormula::kSwitch, BalanceScope::kSequence, kCoef, kZCoef));
  auxiliary.begin_step(kShape);
  const auto weights_TK = random_tensor({3, kTopK}, 1).set_requires_grad(true);
  const auto probs_TE = random_tensor({3, kExperts}, 2).set_requires_grad(true);
  const auto logsumexp_T = random_tensor({3}, 4).set_requires_grad(true);
  const auto expert_idx_TK = at::tensor(std::vector<int64_t>{0, 1, 1, 2, 4, 0}).view({3, kTopK});
  const auto v_TK = random_tensor({3, kTopK}, 3);
  auxiliary.inject({expert_idx_TK, weights_TK, probs_TE, logsumexp_T}, 0).backward(v_TK);
  EXPECT_TRUE(all_equal(weights_TK.grad(), v_TK));
}

TEST(RouterZ, ValueAndGradientAreThoseOfTheFormula) {
  const auto logits_LTE = make_logits(3);
  auto auxiliary =
      make_auxiliary(make_options(BalanceFormula::kSwitch, BalanceScope::kSequence, 0.0, kZCoef));
  const auto gradient_LTE = injected_gradient(auxiliary, logits_LTE);
  EXPECT_NEAR(auxiliary.local_values().router_z, z_value(logits_LTE), 1e-12);
  const auto expected_LTE =
      central_differences([](const at::Tensor& x) { return kZCoef * z_value(x); }, logits_LTE);
  EXPECT_TRUE(all_close(gradient_LTE, expected_LTE, 1e-8, 1e-9));
}

TEST(RouterZ, WithoutACoefficientTheValueIsLoggedAndNothingInjected) {
  const auto logits_LTE = make_logits(3);
  for (const auto coef : {std::optional<double>(0.0), std::optional<double>()}) {
    auto auxiliary =
        make_auxiliary(make_options(BalanceFormula::kSwitch, BalanceScope::kSequence, 0.0, coef));
    EXPECT_EQ(injected_gradient(auxiliary, logits_LTE).abs().max().item<double>(), 0.0);
    EXPECT_NEAR(auxiliary.local_values().router_z, z_value(logits_LTE), 1e-12);
  }
}

TEST(RouterZ, AddsToTheOtherGradients) {
  const auto logits_LTE = make_logits(3);
  const auto gradient = [&](double coef, std::optional<double> z_coef) {
    auto auxiliary = make_auxiliary(
        make_options(BalanceFormula::kSwitch, BalanceScope::kSequence, coef, z_coef));
    return injected_gradient(auxiliary, logits_LTE);
  };
  const auto both_LTE = gradient(kCoef, kZCoef);
  EXPECT_TRUE(
      all_close(both_LTE, gradient(kCoef, std::nullopt) + gradient(0.0, kZCoef), 1e-12, 1e-15));
}

}  // namespace
}  // namespace moesaic::moe
