#include "kernels/reference/linear_cross_entropy.h"

#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <limits>
#include <tuple>

#include "kernels/ops.h"
#include "tests/support/gradcheck.h"
#include "tests/support/random_tensor.h"
#include "tests/support/tensor_check.h"

namespace moesaic::kernels {
namespace {

using tests::all_close;
using tests::all_equal;
using tests::random_integers;
using tests::random_tensor;

struct Problem {
  at::Tensor x_TD;
  at::Tensor weight_VD;
  at::Tensor targets_T;
};

// Every fifth target is not counted.
Problem make_problem(int64_t num_tokens, int64_t width, int64_t vocabulary, at::ScalarType dtype) {
  const auto targets_T = random_integers(vocabulary, {num_tokens}, 61);
  targets_T.masked_fill_(at::arange(num_tokens).remainder(5).eq(3), -100);
  return {random_tensor({num_tokens, width}, 62, dtype).set_requires_grad(true),
          random_tensor({vocabulary, width}, 63, dtype).set_requires_grad(true), targets_T};
}

// T, D, V, dtype
using Case = std::tuple<int64_t, int64_t, int64_t, at::ScalarType>;

class LinearCrossEntropyTest : public testing::TestWithParam<Case> {};

TEST_P(LinearCrossEntropyTest, EqualsTheReferenceForwardAndBackward) {
  const auto [num_tokens, width, vocabulary, dtype] = GetParam();
  const double tolerance = dtype == at::kDouble ? 1e-12 : dtype == at::kFloat ? 1e-4 : 2e-2;
  const auto actual = make_problem(num_tokens, width, vocabulary, dtype);
  const auto expected = make_problem(num_tokens, width, vocabulary, dtype);
  const auto loss = linear_cross_entropy(actual.x_TD, actual.weight_VD, actual.targets_T);
  const auto expected_loss =
      reference::linear_cross_entropy(expected.x_TD, expected.weight_VD, expected.targets_T);
  EXPECT_TRUE(all_close(loss, expected_loss, tolerance, tolerance));
  loss.mul(0.25).backward();
  expected_loss.mul(0.25).backward();
  EXPECT_TRUE(all_close(actual.x_TD.grad(), expected.x_TD.grad(), tolerance, tolerance));
  EXPECT_TRUE(all_close(actual.weight_VD.grad(), expected.weight_VD.grad(), tolerance, tolerance));

  const at::NoGradGuard no_grad;
  EXPECT_TRUE(all_equal(linear_cross_entropy(actual.x_TD, actual.weight_VD, actual.targets_T),
                        loss.detach()));
}

INSTANTIATE_TEST_SUITE_P(Grid, LinearCrossEntropyTest,
                         testing::Values(Case{0, 4, 9, at::kDouble}, Case{1, 4, 9, at::kDouble},
                                         Case{17, 5, 9, at::kDouble}, Case{17, 5, 1, at::kDouble},
                                         Case{17, 5, 9, at::kFloat}, Case{17, 5, 9, at::kBFloat16},
                                         Case{17, 5, 9, at::kHalf},
                                         // several chunks, the last one short
                                         Case{300, 3, 40001, at::kFloat},
                                         Case{300, 3, 20001, at::kDouble}));

TEST(LinearCrossEntropy, GradientsAreThoseOfCentralDifferences) {
  const auto problem = make_problem(8, 3, 7, at::kDouble);
  const auto loss = [&](const std::vector<at::Tensor>& in) {
    return linear_cross_entropy(in[0], in[1], problem.targets_T);
  };
  EXPECT_TRUE(tests::gradcheck(loss, {problem.x_TD, problem.weight_VD}));
  const auto of_x = [&](const std::vector<at::Tensor>& in) {
    return linear_cross_entropy(in[0], problem.weight_VD.detach(), problem.targets_T);
  };
  EXPECT_TRUE(tests::gradcheck(of_x, {problem.x_TD}));
  const auto of_weight = [&](const std::vector<at::Tensor>& in) {
    return linear_cross_entropy(problem.x_TD.detach(), in[0], problem.targets_T);
  };
  EXPECT_TRUE(tests::gradcheck(of_weight, {problem.weight_VD}));
}

TEST(LinearCrossEntropy, UniformPredictionCostsLogV) {
  const auto loss = linear_cross_entropy(at::zeros({6, 4}), random_tensor({50, 4}, 64, at::kFloat),
                                         at::arange(6));
  EXPECT_NEAR(loss.item<double>(), 6 * std::log(50.0), 1e-5);
}

TEST(LinearCrossEntropy, LargeLogitsDoNotOverflow) {
  const auto x_TD = at::eye(3).mul(1000).set_requires_grad(true);
  const auto loss = linear_cross_entropy(x_TD, at::eye(3), at::tensor({0, 1, 0}, at::kLong));
  EXPECT_EQ(loss.item<double>(), 1000);
  loss.backward();
  EXPECT_TRUE(all_equal(x_TD.grad()[2], at::tensor({-1.0F, 0.0F, 1.0F})));
}

TEST(LinearCrossEntropy, NothingCountedIsExactlyZero) {
  auto problem = make_problem(5, 3, 7, at::kFloat);
  problem.targets_T.fill_(-100);
  const auto loss = linear_cross_entropy(problem.x_TD, problem.weight_VD, problem.targets_T);
  loss.backward();
  EXPECT_TRUE(all_equal(loss.detach(), at::zeros({})));
  EXPECT_TRUE(all_equal(problem.x_TD.grad(), at::zeros({5, 3})));
  EXPECT_TRUE(all_equal(problem.weight_VD.grad(), at::zeros({7, 3})));
}

TEST(LinearCrossEntropy, BackwardTwiceGivesTheSame) {
  const auto problem = make_problem(5, 3, 7, at::kDouble);
  const auto loss = linear_cross_entropy(problem.x_TD, problem.weight_VD, problem.targets_T);
  loss.backward({}, /*retain_graph=*/true);
  const auto first = problem.weight_VD.grad().clone();
  loss.backward();
  EXPECT_TRUE(all_equal(problem.weight_VD.grad(), first.mul(2)));
}

TEST(LinearCrossEntropy, NotANumberIsSeen) {
  auto x_TD = random_tensor({4, 3}, 65, at::kFloat);
  x_TD[1][1] = std::numeric_limits<float>::quiet_NaN();
  const auto loss = linear_cross_entropy(x_TD, at::ones({6, 3}), at::arange(4));
  EXPECT_TRUE(std::isnan(loss.item<double>()));
}

TEST(LinearCrossEntropy, NonContiguousInput) {
  const auto problem = make_problem(10, 6, 12, at::kDouble);
  const auto x_DT = problem.x_TD.detach().t().contiguous();
  const auto weight_DV = problem.weight_VD.detach().t().contiguous();
  const auto strided_targets = at::stack({problem.targets_T, problem.targets_T}, 1).select(1, 0);
  EXPECT_TRUE(all_close(linear_cross_entropy(x_DT.t(), weight_DV.t(), strided_targets),
                        linear_cross_entropy(problem.x_TD, problem.weight_VD, problem.targets_T),
                        1e-13, 0));
}

TEST(LinearCrossEntropy, RefusesWhatItCannotDo) {
  const auto x_TD = at::ones({3, 4});
  const auto weight_VD = at::ones({5, 4});
  for (const int64_t target : {5, -1, -99, -101}) {
    const auto targets_T = at::full({3}, target, at::kLong);
    EXPECT_THROW(linear_cross_entropy(x_TD, weight_VD, targets_T), c10::Error) << target;
  }
  const auto targets_T = at::zeros({3}, at::kLong);
  EXPECT_THROW(linear_cross_entropy(x_TD, at::ones({5, 3}), targets_T), c10::Error);
  EXPECT_THROW(linear_cross_entropy(x_TD, weight_VD.to(at::kDouble), targets_T), c10::Error);
  EXPECT_THROW(linear_cross_entropy(x_TD, weight_VD, targets_T.to(at::kInt)), c10::Error);
  EXPECT_THROW(linear_cross_entropy(x_TD, weight_VD, at::zeros({4}, at::kLong)), c10::Error);
}

TEST(LinearCrossEntropy, RefusesDoubleBackward) {
  const auto problem = make_problem(5, 3, 7, at::kDouble);
  const auto loss = linear_cross_entropy(problem.x_TD, problem.weight_VD, problem.targets_T);
  EXPECT_THROW(torch::autograd::grad({loss}, {problem.x_TD}, {}, true, /*create_graph=*/true),
               c10::Error);
}

}  // namespace
}  // namespace moesaic::kernels
