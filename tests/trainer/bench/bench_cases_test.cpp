// That the cases run what they say, and see what is wrong.
#include "trainer/bench/bench_case.h"

#include <ATen/Functions.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "trainer/bench/differentiable_cases.h"

namespace moesaic::trainer {
namespace {

using testing::HasSubstr;

const BenchShape kSmall = {.tokens = 24,
                           .hidden_size = 8,
                           .num_experts = 5,
                           .top_k = 2,
                           .intermediate_size = 6,
                           .vocab_size = 11};

TEST(BenchCases, DifferencesAreFoundAndNamed) {
  const auto expected = at::arange(1, 7, at::kFloat).view({2, 3});
  EXPECT_EQ(difference("y", expected.clone(), expected, 0.0), "");
  auto actual = expected.clone();
  actual[1][0] += 0.5F;
  EXPECT_THAT(difference("y", actual, expected, 0.0), HasSubstr("y: element 3 is 4.5, expected 4"));
  EXPECT_EQ(difference("y", actual, expected, 0.1), "");  // 0.1 of the largest, 6
  actual[1][0] = NAN;
  EXPECT_THAT(difference("y", actual, expected, 1e9), HasSubstr("element 3 is nan"));
  EXPECT_THAT(difference("y", expected.to(at::kDouble), expected, 1.0),
              HasSubstr("shape and type"));
  EXPECT_THAT(difference("y", expected.flatten(), expected, 1.0), HasSubstr("shape and type"));
  EXPECT_THAT(difference("y", at::Tensor(), expected, 1.0), HasSubstr("shape and type"));
  EXPECT_EQ(difference("y", at::zeros({0}), at::zeros({0}), 0.0), "");
  EXPECT_EQ(all_differences({"", "a", "", "b"}), "a; b");
}

class BenchCasesOfType : public testing::TestWithParam<c10::ScalarType> {};

TEST_P(BenchCasesOfType, OperatorsAndLayerEqualTheirReferences) {
  auto shape = kSmall;
  shape.dtype = GetParam();
  auto cases = operator_cases(shape, at::kCPU);
  cases.push_back(layer_case(shape, /*norm_topk_prob=*/true, at::kCPU));
  std::set<std::string> names;
  for (const auto& bench_case : cases) {
    EXPECT_EQ(bench_case.mismatch(), "") << bench_case.name;
    bench_case.run();
    bench_case.run();
    EXPECT_EQ(bench_case.mismatch(), "") << bench_case.name << " after it ran";
    const auto work = bench_case.work;
    EXPECT_GT(bench_case.bound == Bound::kCompute ? work.flops : work.bytes, 0.0);
    EXPECT_TRUE(names.insert(bench_case.name).second) << bench_case.name;
  }
  for (const auto* op :
       {"route_tokens", "plan_dispatch", "permute_tokens", "unpermute_tokens", "sort_chunks",
        "grouped_gemm gate_up", "grouped_gemm down", "gated_activation", "linear_cross_entropy"}) {
    EXPECT_TRUE(names.contains(op)) << op;
    const bool has_backward = names.contains(std::string(op) + " backward") ||
                              names.contains(std::string(op) + " forward+backward");
    EXPECT_EQ(has_backward, std::string(op) != "plan_dispatch") << op;
  }
}

INSTANTIATE_TEST_SUITE_P(Types, BenchCasesOfType,
                         testing::Values(at::kFloat, at::kDouble, at::kBFloat16),
                         [](const auto& info) { return dtype_name(info.param); });

TEST(BenchCases, OneExpertOfOneIsALayerToo) {
  auto shape = kSmall;
  shape.num_experts = shape.top_k = 1;
  EXPECT_EQ(layer_case(shape, /*norm_topk_prob=*/false, at::kCPU).mismatch(), "");
}

/// 3 x against what `operation` makes of x.
Differentiable tripled(std::function<at::Tensor(const at::Tensor&)> operation) {
  const auto x = at::arange(1, 9, at::kFloat).set_requires_grad(true);
  Differentiable tested = {"triple", Bound::kMemory, {}, {x}, {at::ones({8})}};
  tested.operation = [=]() -> Tensors { return {operation(x)}; };
  tested.reference = [=]() -> Tensors { return {x.mul(3.0)}; };
  return tested;
}

TEST(BenchCases, AWrongForwardOrBackwardIsSeen) {
  const auto right = tripled([](const at::Tensor& x) { return x.add(x).add(x); });
  EXPECT_EQ(forward_case(right).mismatch(), "");
  EXPECT_EQ(backward_case(right).mismatch(), "");
  EXPECT_EQ(forward_backward_case(right).mismatch(), "");

  const auto wrong_value = tripled([](const at::Tensor& x) { return x.mul(2.0); });
  EXPECT_THAT(forward_case(wrong_value).mismatch(), HasSubstr("output 0: element 7 is 16"));
  // The right values, but one term carries no gradient.
  const auto wrong_gradient = tripled([](const at::Tensor& x) { return x.add(x).add(x.detach()); });
  EXPECT_EQ(forward_case(wrong_gradient).mismatch(), "");
  EXPECT_THAT(backward_case(wrong_gradient).mismatch(),
              HasSubstr("gradient of input 0: element 0 is 2, expected 3"));
  EXPECT_THAT(forward_backward_case(wrong_gradient).mismatch(), HasSubstr("gradient of input 0"));
}

}  // namespace
}  // namespace moesaic::trainer
