#include "kernels/reference/unpermute_tokens.h"

#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

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
using tests::random_integers;
using tests::random_tensor;

DispatchPlan make_plan(int64_t num_tokens, int64_t num_experts, int64_t top_k,
                       std::optional<double> factor) {
  return plan_dispatch(random_integers(num_experts, {num_tokens, top_k}, 31),
                       at::ones({num_tokens, top_k}), num_experts, num_tokens, {.factor = factor});
}

// T, D, E, K, capacity factor (0: none)
using Case = std::tuple<int64_t, int64_t, int64_t, int64_t, double>;

class UnpermuteTokensTest : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    const auto [num_tokens, width, num_experts, top_k, factor] = GetParam();
    plan_ = make_plan(num_tokens, num_experts, top_k,
                      factor > 0 ? std::make_optional(factor) : std::nullopt);
    rows_RD_ = random_tensor({plan_.source_R.size(0), width}, 32);
    weights_TK_ = random_tensor({num_tokens, top_k}, 33);
  }
  DispatchPlan plan_;
  at::Tensor rows_RD_;
  at::Tensor weights_TK_;
};

TEST_P(UnpermuteTokensTest, IsTheSumOfTheReference) {
  for (const auto dtype : {at::kFloat, at::kDouble, at::kBFloat16, at::kHalf}) {
    const auto weights_TK = weights_TK_.to(dtype == at::kDouble ? at::kDouble : at::kFloat);
    const auto rows_RD = rows_RD_.to(dtype);
    const double tolerance = dtype == at::kDouble ? 1e-14 : dtype == at::kFloat ? 1e-6 : 8e-3;
    EXPECT_TRUE(all_close(unpermute_tokens(rows_RD, weights_TK, plan_),
                          reference::unpermute_tokens(rows_RD, weights_TK, plan_), tolerance,
                          tolerance))
        << dtype;
  }
}

TEST_P(UnpermuteTokensTest, GradientsAreThoseOfCentralDifferences) {
  const auto unpermute = [&](const std::vector<at::Tensor>& in) {
    return unpermute_tokens(in[0], in[1], plan_);
  };
  EXPECT_TRUE(tests::gradcheck(unpermute, {rows_RD_, weights_TK_}));
  const auto rows_only = [&](const std::vector<at::Tensor>& in) {
    return unpermute_tokens(in[0], weights_TK_, plan_);
  };
  EXPECT_TRUE(tests::gradcheck(rows_only, {rows_RD_}));
  const auto weights_only = [&](const std::vector<at::Tensor>& in) {
    return unpermute_tokens(rows_RD_, in[0], plan_);
  };
  EXPECT_TRUE(tests::gradcheck(weights_only, {weights_TK_}));
}

TEST_P(UnpermuteTokensTest, DroppedChoicesHaveAGateGradientOfExactlyZero) {
  const auto weights_TK = weights_TK_.clone().set_requires_grad(true);
  unpermute_tokens(rows_RD_, weights_TK, plan_).sum().backward();
  const auto dropped_TK = plan_.row_of_choice_TK.lt(0);
  EXPECT_TRUE(all_equal(weights_TK.grad().masked_select(dropped_TK),
                        at::zeros({dropped_TK.sum().item<int64_t>()}, at::kDouble)));
}

INSTANTIATE_TEST_SUITE_P(Grid, UnpermuteTokensTest,
                         testing::Values(Case{0, 4, 3, 2, 0}, Case{1, 3, 3, 2, 0},
                                         Case{9, 5, 3, 2, 0}, Case{9, 5, 3, 2, 0.4},
                                         Case{9, 1, 1, 1, 0}, Case{9, 7, 1, 1, 0.1},
                                         Case{8, 6, 4, 4, 1.0}, Case{8, 6, 4, 4, 0.01}));

TEST(UnpermuteTokens, TokenWithoutChoicesIsZeroEvenBesideNonFiniteWeights) {
  // One row: the second token loses both choices.
  const auto plan =
      plan_dispatch(at::zeros({2, 1}, at::kLong), at::ones({2, 1}), 1, 2, {.factor = 0.5});
  auto weights_TK = at::ones({2, 1});
  weights_TK[1][0] = std::numeric_limits<float>::quiet_NaN();
  const auto out_TD = unpermute_tokens(at::full({1, 3}, 2.0F), weights_TK, plan);
  EXPECT_TRUE(all_equal(out_TD, at::tensor({2.0F, 0.0F}).unsqueeze(1).expand({2, 3})));
}

TEST(UnpermuteTokens, SumsInFloat32) {
  const auto plan =
      plan_dispatch(at::tensor({0, 1, 2}, at::kLong).view({1, 3}), at::ones({1, 3}), 3, 1, {});
  const auto rows_RD = at::tensor({256.0F, 1.0F, 1.0F}).to(at::kBFloat16).unsqueeze(1);
  EXPECT_TRUE(all_equal(unpermute_tokens(rows_RD, at::ones({1, 3}), plan),
                        at::full({1, 1}, 258, at::kBFloat16)));
}

TEST(UnpermuteTokens, UndoesPermute) {
  const auto plan = make_plan(20, 5, 2, std::nullopt);
  const auto x_TD = random_tensor({20, 6}, 34);
  const auto half_TK = at::full({20, 2}, 0.5, at::kDouble);
  EXPECT_TRUE(all_equal(unpermute_tokens(permute_tokens(x_TD, plan), half_TK, plan), x_TD));
}

TEST(UnpermuteTokens, NonContiguousInput) {
  const auto plan = make_plan(12, 5, 3, 0.8);
  const auto run = [&](bool contiguous) {
    const auto rows_DR = random_tensor({9, plan.source_R.size(0)}, 35).set_requires_grad(true);
    const auto weights_KT = random_tensor({3, 12}, 36).set_requires_grad(true);
    const auto out_TD =
        contiguous ? unpermute_tokens(rows_DR.t().contiguous(), weights_KT.t().contiguous(), plan)
                   : unpermute_tokens(rows_DR.t(), weights_KT.t(), plan);
    out_TD.sum().backward();
    return std::tuple(out_TD, rows_DR.grad(), weights_KT.grad());
  };
  const auto [out, grad_rows, grad_weights] = run(false);
  const auto [expected_out, expected_grad_rows, expected_grad_weights] = run(true);
  EXPECT_TRUE(all_equal(out, expected_out));
  EXPECT_TRUE(all_equal(grad_rows, expected_grad_rows));
  EXPECT_TRUE(all_equal(grad_weights, expected_grad_weights));
}

TEST(UnpermuteTokens, SameBitsForAnyNumberOfThreads) {
  const auto plan = make_plan(2000, 16, 4, 0.9);
  const auto run = [&](int num_threads) {
    const tests::ThreadCount threads(num_threads);
    const auto rows_RD =
        random_tensor({plan.source_R.size(0), 65}, 37, at::kFloat).set_requires_grad(true);
    const auto weights_TK = random_tensor({2000, 4}, 38, at::kFloat).set_requires_grad(true);
    const auto out_TD = unpermute_tokens(rows_RD, weights_TK, plan);
    out_TD.backward(random_tensor({2000, 65}, 39, at::kFloat));
    return std::tuple(out_TD, rows_RD.grad(), weights_TK.grad());
  };
  const auto [out_1, rows_1, weights_1] = run(1);
  const auto [out_4, rows_4, weights_4] = run(4);
  EXPECT_TRUE(all_equal(out_1, out_4));
  EXPECT_TRUE(all_equal(rows_1, rows_4));
  EXPECT_TRUE(all_equal(weights_1, weights_4));
}

TEST(UnpermuteTokens, RefusesWhatItCannotDo) {
  const auto plan = make_plan(6, 3, 2, std::nullopt);
  const auto weights_TK = at::ones({6, 2});
  EXPECT_THROW(unpermute_tokens(at::ones({11, 4}), weights_TK, plan), c10::Error);
  EXPECT_THROW(unpermute_tokens(at::ones({12, 4}), at::ones({6, 3}), plan), c10::Error);
  EXPECT_THROW(unpermute_tokens(at::ones({12, 4}), weights_TK.to(at::kDouble), plan), c10::Error);
  EXPECT_THROW(unpermute_tokens(at::ones({12, 4}, at::kDouble), weights_TK, plan), c10::Error);
  auto foreign = plan;
  foreign.row_of_choice_TK = plan.row_of_choice_TK.add(100);
  EXPECT_THROW(unpermute_tokens(at::ones({12, 4}), weights_TK, foreign), c10::Error);
}

TEST(UnpermuteTokens, RefusesDoubleBackward) {
  const auto rows_RD = random_tensor({12, 4}, 40).set_requires_grad(true);
  const auto out_TD =
      unpermute_tokens(rows_RD, at::ones({6, 2}, at::kDouble), make_plan(6, 3, 2, std::nullopt));
  EXPECT_THROW(torch::autograd::grad({out_TD.square().sum()}, {rows_RD}, {}, true,
                                     /*create_graph=*/true),
               c10::Error);
}

}  // namespace
}  // namespace moesaic::kernels
