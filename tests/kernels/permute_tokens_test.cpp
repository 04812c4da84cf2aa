#include "kernels/reference/permute_tokens.h"

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

using tests::all_equal;
using tests::random_integers;
using tests::random_tensor;

DispatchPlan make_plan(int64_t num_tokens, int64_t num_experts, int64_t top_k,
                       std::optional<double> factor) {
  return plan_dispatch(random_integers(num_experts, {num_tokens, top_k}, 21),
                       at::ones({num_tokens, top_k}), num_experts, num_tokens, {.factor = factor});
}

// T, D, E, K, capacity factor (0: none)
using Case = std::tuple<int64_t, int64_t, int64_t, int64_t, double>;

class PermuteTokensTest : public testing::TestWithParam<Case> {
 protected:
  DispatchPlan plan() const {
    const auto [num_tokens, width, num_experts, top_k, factor] = GetParam();
    return make_plan(num_tokens, num_experts, top_k,
                     factor > 0 ? std::make_optional(factor) : std::nullopt);
  }
  std::array<int64_t, 2> shape() const {
    return {std::get<0>(GetParam()), std::get<1>(GetParam())};
  }
};

TEST_P(PermuteTokensTest, MovesTheBitsOfTheReference) {
  for (const auto dtype : {at::kFloat, at::kDouble, at::kBFloat16, at::kHalf, at::kLong}) {
    const auto x_TD = random_tensor(shape(), 22).mul(100).to(dtype);
    EXPECT_TRUE(all_equal(permute_tokens(x_TD, plan()), reference::permute_tokens(x_TD, plan())));
  }
}

TEST_P(PermuteTokensTest, GradientsAreThoseOfCentralDifferences) {
  const auto permute = [&](const std::vector<at::Tensor>& in) {
    return permute_tokens(in[0], plan());
  };
  EXPECT_TRUE(tests::gradcheck(permute, {random_tensor(shape(), 23)}));
}

INSTANTIATE_TEST_SUITE_P(Grid, PermuteTokensTest,
                         testing::Values(Case{0, 4, 3, 2, 0}, Case{1, 3, 3, 2, 0},
                                         Case{9, 5, 3, 2, 0}, Case{9, 5, 3, 2, 0.4},
                                         Case{9, 1, 1, 1, 0}, Case{9, 7, 1, 1, 0.1},
                                         Case{8, 6, 4, 4, 1.0}, Case{8, 0, 4, 2, 0}));

TEST(PermuteTokens, GradientSumsCopiesInOrderAndInFloat32) {
  // In bfloat16 256 + 1 is 256; the sum of the three copies is 258.
  const auto plan =
      plan_dispatch(at::tensor({0, 1, 2}, at::kLong).view({1, 3}), at::ones({1, 3}), 3, 1, {});
  const auto x_TD = at::zeros({1, 4}, at::kBFloat16).set_requires_grad(true);
  const auto grad_RD = at::tensor({256.0F, 1.0F, 1.0F})
                           .to(at::kBFloat16)
                           .unsqueeze(1)
                           .expand({3, 4});  // not contiguous
  permute_tokens(x_TD, plan).backward(grad_RD);
  EXPECT_TRUE(all_equal(x_TD.grad(), at::full({1, 4}, 258, at::kBFloat16)));
}

TEST(PermuteTokens, GradientIsBitwiseTheSumOverAscendingK) {
  const auto plan = make_plan(50, 7, 4, 0.8);
  const auto x_TD = random_tensor({50, 33}, 24, at::kFloat).set_requires_grad(true);
  const auto grad_RD = random_tensor({plan.source_R.size(0), 33}, 25, at::kFloat);
  permute_tokens(x_TD, plan).backward(grad_RD);
  auto expected_TD = at::zeros({50, 33});
  for (int64_t t = 0; t < 50; ++t) {
    for (int64_t k = 0; k < 4; ++k) {
      const auto row = plan.row_of_choice_TK[t][k].item<int64_t>();
      if (row >= 0) {
        expected_TD[t].add_(grad_RD[row]);
      }
    }
  }
  EXPECT_TRUE(all_equal(x_TD.grad(), expected_TD));
}

TEST(PermuteTokens, NonContiguousInput) {
  const auto plan = make_plan(12, 5, 3, std::nullopt);
  const auto x_DT = random_tensor({9, 12}, 26, at::kFloat);
  EXPECT_TRUE(
      all_equal(permute_tokens(x_DT.t(), plan), permute_tokens(x_DT.t().contiguous(), plan)));
}

TEST(PermuteTokens, SameBitsForAnyNumberOfThreads) {
  const auto plan = make_plan(2000, 16, 4, 0.9);
  const auto run = [&](int num_threads) {
    const tests::ThreadCount threads(num_threads);
    const auto x_TD = random_tensor({2000, 65}, 27, at::kFloat).set_requires_grad(true);
    const auto rows_RD = permute_tokens(x_TD, plan);
    rows_RD.backward(random_tensor(rows_RD.sizes(), 28, at::kFloat));
    return std::pair(rows_RD, x_TD.grad());
  };
  const auto [rows_1, grad_1] = run(1);
  const auto [rows_4, grad_4] = run(4);
  EXPECT_TRUE(all_equal(rows_1, rows_4));
  EXPECT_TRUE(all_equal(grad_1, grad_4));
}

TEST(PermuteTokens, RefusesWhatItCannotDo) {
  const auto plan = make_plan(6, 3, 2, std::nullopt);
  EXPECT_THROW(permute_tokens(at::ones({5, 4}), plan), c10::Error);
  EXPECT_THROW(permute_tokens(at::ones({6}), plan), c10::Error);
  auto foreign = plan;
  foreign.source_R = plan.source_R.add(100);
  foreign.row_of_choice_TK = plan.row_of_choice_TK.add(100);  // a GPU goes by this one
  EXPECT_THROW(permute_tokens(at::ones({6, 4}), foreign), c10::Error);
}

TEST(PermuteTokens, RefusesDoubleBackward) {
  const auto x_TD = random_tensor({6, 4}, 29).set_requires_grad(true);
  const auto loss = permute_tokens(x_TD, make_plan(6, 3, 2, std::nullopt)).square().sum();
  EXPECT_THROW(torch::autograd::grad({loss}, {x_TD}, {}, true, /*create_graph=*/true), c10::Error);
}

}  // namespace
}  // namespace moesaic::kernels
