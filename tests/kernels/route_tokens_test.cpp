#include "kernels/reference/route_tokens.h"

#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <limits>
#include <tuple>

#include "kernels/ops.h"
#include "tests/support/gradcheck.h"
#include "tests/support/random_tensor.h"
#include "tests/support/tensor_check.h"
#include "tests/support/thread_count.h"

namespace moesaic::kernels {
namespace {

using tests::all_close;
using tests::all_equal;
using tests::random_tensor;

// T tokens, E experts, K choices, softmax before top-k, renormalise.
using Case = std::tuple<int64_t, int64_t, int64_t, bool, bool>;

class RouteTokensTest : public testing::TestWithParam<Case> {
 protected:
  int64_t num_tokens() const { return std::get<0>(GetParam()); }
  int64_t num_experts() const { return std::get<1>(GetParam()); }
  RouteOptions options() const {
    return {.top_k = std::get<2>(GetParam()),
            .softmax_before_top_k = std::get<3>(GetParam()),
            .norm_topk_prob = std::get<4>(GetParam())};
  }
};

TEST_P(RouteTokensTest, ChoosesAsTheReference) {
  for (const auto dtype : {at::kFloat, at::kDouble, at::kBFloat16, at::kHalf}) {
    const auto logits_TE = random_tensor({num_tokens(), num_experts()}, 1, dtype);
    const auto routed = route_tokens(logits_TE, options());
    const auto expected = reference::route_tokens(logits_TE, options());
    const double tolerance = dtype == at::kDouble ? 1e-14 : 1e-6;
    EXPECT_TRUE(all_equal(routed.expert_idx_TK, expected.expert_idx_TK)) << dtype;
    EXPECT_TRUE(all_close(routed.weights_TK, expected.weights_TK, tolerance, 0)) << dtype;
    EXPECT_TRUE(all_close(routed.probs_TE, expected.probs_TE, tolerance, 0)) << dtype;
    EXPECT_TRUE(all_close(routed.logsumexp_T, expected.logsumexp_T, tolerance, tolerance)) << dtype;
  }
}

TEST_P(RouteTokensTest, GradientsAreThoseOfCentralDifferences) {
  // Coarse steps keep the choices apart from each other by far more than the difference step.
  const auto logits_TE = random_tensor({num_tokens(), num_experts()}, 2)
                             .mul(4)
                             .round()
                             .div(4)
                             .add(at::arange(num_experts(), at::kDouble).mul(0.001));
  const auto weights = [&](const std::vector<at::Tensor>& in) {
    return route_tokens(in[0], options()).weights_TK;
  };
  const auto probs = [&](const std::vector<at::Tensor>& in) {
    return route_tokens(in[0], options()).probs_TE;
  };
  const auto logsumexp = [&](const std::vector<at::Tensor>& in) {
    return route_tokens(in[0], options()).logsumexp_T;
  };
  const auto all = [&](const std::vector<at::Tensor>& in) {
    const auto routed = route_tokens(in[0], options());
    return at::cat({routed.weights_TK, routed.probs_TE, routed.logsumexp_T.unsqueeze(1)}, 1);
  };
  EXPECT_TRUE(tests::gradcheck(weights, {logits_TE}));
  EXPECT_TRUE(tests::gradcheck(probs, {logits_TE}));
  EXPECT_TRUE(tests::gradcheck(logsumexp, {logits_TE}));
  EXPECT_TRUE(tests::gradcheck(all, {logits_TE}));
}

INSTANTIATE_TEST_SUITE_P(Grid, RouteTokensTest,
                         testing::Values(Case{0, 4, 2, true, false}, Case{1, 4, 2, true, true},
                                         Case{5, 1, 1, true, false}, Case{7, 6, 1, true, false},
                                         Case{7, 6, 2, true, false}, Case{7, 6, 2, true, true},
                                         Case{7, 6, 2, false, false}, Case{7, 6, 2, false, true},
                                         Case{6, 5, 5, true, false}, Case{6, 5, 5, true, true},
                                         Case{6, 5, 5, false, false}, Case{9, 64, 8, true, true},
                                         Case{9, 33, 8, false, false}));

TEST(RouteTokens, KnownAnswer) {
  const auto logits_TE = at::tensor({1.0, 4.0, 3.0, 2.0}, at::kDouble).log().unsqueeze(0);
  const auto expected_ids = at::tensor({1, 2}, at::kLong).unsqueeze(0);
  const auto plain = at::tensor({0.4, 0.3}, at::kDouble).unsqueeze(0);
  const auto normalised = plain.div(0.7);
  const auto before = route_tokens(logits_TE, {.top_k = 2});
  EXPECT_TRUE(all_equal(before.expert_idx_TK, expected_ids));
  EXPECT_TRUE(all_close(before.weights_TK, plain, 1e-14, 0));
  EXPECT_NEAR(before.logsumexp_T.item<double>(), std::log(10.0), 1e-14);
  const auto renormalised = route_tokens(logits_TE, {.top_k = 2, .norm_topk_prob = true});
  EXPECT_TRUE(all_close(renormalised.weights_TK, normalised, 1e-14, 0));
  const auto after = route_tokens(logits_TE, {.top_k = 2, .softmax_before_top_k = false});
  EXPECT_TRUE(all_close(after.weights_TK, normalised, 1e-14, 0));
}

TEST(RouteTokens, TiesGoToTheLowestId) {
  const auto equal = route_tokens(at::zeros({3, 70}), {.top_k = 4});
  EXPECT_TRUE(all_equal(equal.expert_idx_TK, at::arange(4).expand({3, 4})));
  const auto logits_TE = at::tensor({1, 3, 2, 3, 0, 2, 3, 2}, at::kFloat).unsqueeze(0);
  const auto routed = route_tokens(logits_TE, {.top_k = 5});
  EXPECT_TRUE(all_equal(routed.expert_idx_TK, at::tensor({1, 3, 6, 2, 5}, at::kLong).unsqueeze(0)));
}

// All but one probability is zero in float32; the logits still tell the experts apart.
TEST(RouteTokens, UnderflowOfTheSoftmaxMakesNoTies) {
  const auto logits_TE = at::tensor({-300, -200, 0, -250}, at::kFloat).unsqueeze(0);
  const auto routed = route_tokens(logits_TE, {.top_k = 3});
  EXPECT_TRUE(all_equal(routed.expert_idx_TK, at::tensor({2, 1, 3}, at::kLong).unsqueeze(0)));
}

TEST(RouteTokens, NonFiniteLogitsGiveValidIds) {
  auto logits_TE = random_tensor({6, 8}, 3, at::kFloat);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  logits_TE[0].fill_(nan);
  logits_TE[1][3] = nan;
  logits_TE[1][6] = nan;
  logits_TE[2].fill_(-infinity);
  logits_TE[3][5] = infinity;
  logits_TE[4].fill_(infinity);
  const auto routed = route_tokens(logits_TE, {.top_k = 3});
  EXPECT_TRUE(all_equal(routed.expert_idx_TK,
                        reference::route_tokens(logits_TE, {.top_k = 3}).expert_idx_TK));
  EXPECT_GE(routed.expert_idx_TK.min().item<int64_t>(), 0);
  EXPECT_LT(routed.expert_idx_TK.max().item<int64_t>(), 8);
  EXPECT_TRUE(routed.weights_TK[5].isfinite().all().item<bool>());
  EXPECT_TRUE(routed.weights_TK[0].isnan().all().item<bool>());
  EXPECT_TRUE(at::equal(routed.logsumexp_T.narrow(0, 2, 3),
                        at::logsumexp(logits_TE, -1).narrow(0, 2, 3)));  // the infinite ones
  EXPECT_TRUE(routed.logsumexp_T.narrow(0, 0, 2).isnan().all().item<bool>());
}

TEST(RouteTokens, NonContiguousLogits) {
  const auto logits_ET = random_tensor({16, 10}, 4, at::kFloat);
  const auto routed = route_tokens(logits_ET.t(), {.top_k = 3});
  const auto expected = route_tokens(logits_ET.t().contiguous(), {.top_k = 3});
  EXPECT_TRUE(all_equal(routed.expert_idx_TK, expected.expert_idx_TK));
  EXPECT_TRUE(all_equal(routed.weights_TK, expected.weights_TK));
}

TEST(RouteTokens, SameBitsForAnyNumberOfThreads) {
  const auto run = [](int num_threads) {
    const tests::ThreadCount threads(num_threads);
    const auto logits_TE = random_tensor({1000, 40}, 5, at::kFloat).set_requires_grad(true);
    const auto routed = route_tokens(logits_TE, {.top_k = 5, .norm_topk_prob = true});
    routed.weights_TK.backward(random_tensor({1000, 5}, 6, at::kFloat), /*keep_graph=*/true);
    routed.logsumexp_T.sum().backward();
    return std::tuple(routed.expert_idx_TK, routed.weights_TK, logits_TE.grad());
  };
  const auto [ids_1, weights_1, grad_1] = run(1);
  const auto [ids_3, weights_3, grad_3] = run(3);
  EXPECT_TRUE(all_equal(ids_1, ids_3));
  EXPECT_TRUE(all_equal(weights_1, weights_3));
  EXPECT_TRUE(all_equal(grad_1, grad_3));
}

TEST(RouteTokens, GradientHasTheDtypeOfTheLogits) {
  const auto logits_TE = random_tensor({3, 4}, 7, at::kBFloat16).set_requires_grad(true);
  const auto routed = route_tokens(logits_TE, {.top_k = 2});
  EXPECT_EQ(routed.weights_TK.scalar_type(), at::kFloat);
  EXPECT_FALSE(routed.expert_idx_TK.requires_grad());
  routed.weights_TK.select(1, 0).sum().backward();
  EXPECT_EQ(logits_TE.grad().scalar_type(), at::kBFloat16);
}

TEST(RouteTokens, RefusesWhatItCannotDo) {
  const auto logits_TE = random_tensor({3, 4}, 8);
  EXPECT_THROW(route_tokens(logits_TE, {.top_k = 0}), c10::Error);
  EXPECT_THROW(route_tokens(logits_TE, {.top_k = 5}), c10::Error);
  EXPECT_THROW(route_tokens(logits_TE[0], {.top_k = 1}), c10::Error);
  EXPECT_THROW(route_tokens(logits_TE.to(at::kLong), {.top_k = 1}), c10::Error);
  // A weight that is the constant one.
  EXPECT_THROW(route_tokens(logits_TE, {.top_k = 1, .softmax_before_top_k = false}), c10::Error);
  EXPECT_THROW(route_tokens(logits_TE, {.top_k = 1, .norm_topk_prob = true}), c10::Error);
}

TEST(RouteTokens, RefusesDoubleBackward) {
  const auto logits_TE = random_tensor({3, 4}, 9).set_requires_grad(true);
  const auto loss = route_tokens(logits_TE, {.top_k = 2}).weights_TK.square().sum();
  EXPECT_THROW(torch::autograd::grad({loss}, {logits_TE}, {}, true, /*create_graph=*/true),
               c10::Error);
}

}  // namespace
}  // namespace moesaic::kernels
