#include "kernels/reference/grouped_gemm.h"

#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include <memory>
#include <numeric>
#include <tuple>
#include <vector>

#include "kernels/backend.h"
#include "kernels/grouped_gemm_choice.h"
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

struct Case {
  std::vector<int64_t> num_rows;
  int64_t in_width;
  int64_t out_width;
};

struct Problem {
  at::Tensor rows_RI;
  at::Tensor weight_eOI;
  at::Tensor num_rows_e;
  at::Tensor grad_RO;
};

Problem make_problem(const Case& c, at::ScalarType dtype) {
  const auto num_rows = std::accumulate(c.num_rows.begin(), c.num_rows.end(), int64_t{0});
  const auto num_experts = static_cast<int64_t>(c.num_rows.size());
  return {random_tensor({num_rows, c.in_width}, 41, dtype).set_requires_grad(true),
          random_tensor({num_experts, c.out_width, c.in_width}, 42, dtype).set_requires_grad(true),
          at::tensor(c.num_rows, at::kLong), random_tensor({num_rows, c.out_width}, 43, dtype)};
}

class GroupedGemmTest : public testing::TestWithParam<Case> {};

TEST_P(GroupedGemmTest, EqualsTheReferenceForwardAndBackward) {
  for (const auto dtype : {at::kFloat, at::kDouble}) {
    const double tolerance = dtype == at::kDouble ? 1e-12 : 2e-4;
    const auto actual = make_problem(GetParam(), dtype);
    const auto expected = make_problem(GetParam(), dtype);
    const auto out_RO = grouped_gemm(actual.rows_RI, actual.weight_eOI, actual.num_rows_e);
    const auto expected_out_RO =
        reference::grouped_gemm(expected.rows_RI, expected.weight_eOI, expected.num_rows_e);
    EXPECT_TRUE(all_close(out_RO, expected_out_RO, tolerance, tolerance));
    out_RO.backward(actual.grad_RO);
    expected_out_RO.backward(expected.grad_RO);
    EXPECT_TRUE(all_close(actual.rows_RI.grad(), expected.rows_RI.grad(), tolerance, tolerance));
    EXPECT_TRUE(
        all_close(actual.weight_eOI.grad(), expected.weight_eOI.grad(), tolerance, tolerance));
  }
}

TEST_P(GroupedGemmTest, ExpertWithoutRowsHasAGradientOfExactlyZero) {
  const auto problem = make_problem(GetParam(), at::kFloat);
  grouped_gemm(problem.rows_RI, problem.weight_eOI, problem.num_rows_e).backward(problem.grad_RO);
  for (size_t e = 0; e < GetParam().num_rows.size(); ++e) {
    const auto grad_OI = problem.weight_eOI.grad()[static_cast<int64_t>(e)];
    if (GetParam().num_rows[e] == 0) {
      EXPECT_TRUE(all_equal(grad_OI, at::zeros_like(grad_OI))) << "expert " << e;
    }
  }
}

TEST_P(GroupedGemmTest, AddsTheWeightGradientIntoItsDestination) {
  const auto problem = make_problem(GetParam(), at::kDouble);
  const auto expected = make_problem(GetParam(), at::kDouble);
  grouped_gemm(expected.rows_RI, expected.weight_eOI, expected.num_rows_e)
      .backward(expected.grad_RO);
  const auto before_eOI = at::ones_like(problem.weight_eOI.detach());
  const auto destination_eOI = before_eOI.clone();
  for (int micro_batch = 1; micro_batch <= 2; ++micro_batch) {
    grouped_gemm(problem.rows_RI, problem.weight_eOI, problem.num_rows_e, destination_eOI)
        .backward(problem.grad_RO);
    EXPECT_FALSE(problem.weight_eOI.grad().defined());
    EXPECT_TRUE(all_close(destination_eOI, before_eOI.add(expected.weight_eOI.grad(), micro_batch),
                          1e-12, 1e-12));
  }
  EXPECT_TRUE(all_close(problem.rows_RI.grad(), expected.rows_RI.grad().mul(2), 1e-12, 1e-12));
  const auto direct_eOI = before_eOI.clone();
  grouped_gemm_weight_gradient_(direct_eOI, problem.grad_RO, problem.rows_RI, problem.num_rows_e);
  EXPECT_TRUE(all_close(direct_eOI, before_eOI.add(expected.weight_eOI.grad()), 1e-12, 1e-12));
}

INSTANTIATE_TEST_SUITE_P(Grid, GroupedGemmTest,
                         testing::Values(Case{{0}, 4, 3}, Case{{1}, 4, 3}, Case{{0, 0, 0}, 5, 7},
                                         Case{{3, 0, 5, 1}, 5, 7}, Case{{0, 9, 0}, 5, 7},
                                         Case{{2, 2}, 1, 1},
                                         // several blocks an expert, with uneven cuts
                                         Case{{1700, 0, 301, 768, 769}, 19, 131}));

TEST(GroupedGemm, GradientsAreThoseOfCentralDifferences) {
  const auto num_rows_e = at::tensor({2, 0, 3}, at::kLong);
  const auto gemm = [&](const std::vector<at::Tensor>& in) {
    return grouped_gemm(in[0], in[1], num_rows_e);
  };
  EXPECT_TRUE(tests::gradcheck(gemm, {random_tensor({5, 4}, 44), random_tensor({3, 2, 4}, 45)}));
}

TEST(GroupedGemm, NoExperts) {
  const auto problem = make_problem({{}, 4, 3}, at::kFloat);
  const auto out_RO = grouped_gemm(problem.rows_RI, problem.weight_eOI, problem.num_rows_e);
  EXPECT_TRUE(all_equal(out_RO, at::empty({0, 3})));
  out_RO.sum().backward();
  EXPECT_TRUE(all_equal(problem.weight_eOI.grad(), at::empty({0, 3, 4})));
}

TEST(GroupedGemm, EqualsTheGroupedMmOfAten) {
  const auto problem = make_problem({{40, 0, 17, 900}, 32, 48}, at::kFloat);
  const auto ends_e = problem.num_rows_e.cumsum(0).to(at::kInt);
  const at::NoGradGuard no_grad;
  EXPECT_TRUE(all_close(
      grouped_gemm(problem.rows_RI, problem.weight_eOI, problem.num_rows_e),
      at::_grouped_mm(problem.rows_RI, problem.weight_eOI.transpose(1, 2), ends_e), 1e-5, 1e-4));
}

TEST(GroupedGemm, StridedInputsAndGradients) {
  const auto num_rows_e = at::tensor({4, 0, 6}, at::kLong);
  const auto rows_IR = random_tensor({5, 10}, 46).set_requires_grad(true);
  const auto weight_eIO = random_tensor({3, 5, 7}, 47).set_requires_grad(true);
  const auto out_RO = grouped_gemm(rows_IR.t(), weight_eIO.transpose(1, 2), num_rows_e);
  EXPECT_TRUE(all_close(
      out_RO, reference::grouped_gemm(rows_IR.t(), weight_eIO.transpose(1, 2), num_rows_e), 1e-13,
      1e-13));
  out_RO.sum().backward();  // a gradient with strides of zero
  EXPECT_TRUE(all_close(weight_eIO.grad()[2].select(1, 0), rows_IR.detach().narrow(1, 4, 6).sum(1),
                        1e-13, 1e-13));
}

TEST(GroupedGemm, NoGradientWhereNoneIsWanted) {
  const auto problem = make_problem({{3, 2}, 4, 5}, at::kDouble);
  const auto destination_eOI = at::zeros({2, 5, 4}, at::kDouble);
  grouped_gemm(problem.rows_RI, problem.weight_eOI.detach(), problem.num_rows_e, destination_eOI)
      .backward(problem.grad_RO);
  EXPECT_TRUE(all_equal(destination_eOI, at::zeros({2, 5, 4}, at::kDouble)));
}

// What a gradient reducer leans on: `.grad` is a slice of the main gradients and the destination,
// and the hook that counts ready gradients runs once, when the gradient is there.
TEST(GroupedGemm, ThePostAccumulateHookFindsTheGradientInItsDestination) {
  struct CopyGradient : torch::autograd::PostAccumulateGradHook {
    explicit CopyGradient(std::vector<at::Tensor>* seen) : seen_(seen) {}
    void operator()(const torch::autograd::Variable& weight) override {
      seen_->push_back(weight.grad().clone());
    }
    std::vector<at::Tensor>* seen_;
  };
  const auto expected = make_problem({{3, 2}, 4, 5}, at::kDouble);
  grouped_gemm(expected.rows_RI, expected.weight_eOI, expected.num_rows_e)
      .backward(expected.grad_RO);
  std::vector<at::Tensor> seen;
  const auto problem = make_problem({{3, 2}, 4, 5}, at::kDouble);
  problem.weight_eOI.mutable_grad() = at::zeros({2, 5, 4}, at::kDouble);
  torch::autograd::impl::set_post_acc_grad_hooks(problem.weight_eOI,
                                                 std::make_unique<CopyGradient>(&seen));
  grouped_gemm(problem.rows_RI, problem.weight_eOI, problem.num_rows_e, problem.weight_eOI.grad())
      .backward(problem.grad_RO);
  ASSERT_EQ(seen.size(), 1);
  EXPECT_TRUE(all_close(seen[0], expected.weight_eOI.grad(), 1e-13, 1e-13));
  EXPECT_TRUE(all_equal(problem.weight_eOI.grad(), seen[0]));
}

// --- half precision, in every kind that works here: on the CPU one -------------------------------
class HalfGroupedGemmTest : public testing::TestWithParam<std::tuple<at::ScalarType, Case>> {
 protected:
  ~HalfGroupedGemmTest() override { set_grouped_gemm(GroupedGemmKind::kAuto); }

  // The same products in float64, of the same rounded numbers.
  static Problem widened(const Problem& problem) {
    const auto wide = [](const at::Tensor& tensor) {
      return tensor.detach().to(at::kDouble).set_requires_grad(tensor.requires_grad());
    };
    return {wide(problem.rows_RI), wide(problem.weight_eOI), problem.num_rows_e,
            wide(problem.grad_RO)};
  }
};

TEST_P(HalfGroupedGemmTest, EveryKindRoundsOnceAndAddsWeightGradientsInFloat32) {
  const auto& [dtype, c] = GetParam();
  const double one_rounding = dtype == at::kHalf ? 0x1p-11 : 0x1p-8;
  const auto exact = widened(make_problem(c, dtype));
  const auto exact_out_RO =
      reference::grouped_gemm(exact.rows_RI, exact.weight_eOI, exact.num_rows_e);
  exact_out_RO.backward(exact.grad_RO);
  for (const auto kind :
       {GroupedGemmKind::kAuto, GroupedGemmKind::kCublas, GroupedGemmKind::kGroupedMm}) {
    const int generation = why_no_gpu().empty() ? gpu_generation() : 0;
    if (!why_not(kind, {.gpu_generation = generation, .dtype = dtype}).empty()) {
      continue;
    }
    SCOPED_TRACE("kind " + std::to_string(static_cast<int>(kind)));
    set_grouped_gemm(kind);
    const auto problem = make_problem(c, dtype);
    const bool has_whole_units = c.in_width % 8 == 0 && c.out_width % 8 == 0;
    if (kind == GroupedGemmKind::kGroupedMm && !has_whole_units) {
      EXPECT_THROW(grouped_gemm(problem.rows_RI, problem.weight_eOI, problem.num_rows_e),
                   c10::Error);
      continue;
    }
    const auto destination_eOI = at::zeros(problem.weight_eOI.sizes());
    const auto out_RO =
        grouped_gemm(problem.rows_RI, problem.weight_eOI, problem.num_rows_e, destination_eOI);
    out_RO.backward(problem.grad_RO);
    EXPECT_TRUE(all_close(out_RO.to(at::kDouble), exact_out_RO, one_rounding, 1e-4));
    EXPECT_TRUE(all_close(problem.rows_RI.grad().to(at::kDouble), exact.rows_RI.grad(),
                          one_rounding, 1e-4));
    EXPECT_TRUE(all_close(destination_eOI.to(at::kDouble), exact.weight_eOI.grad(), 1e-5, 1e-4));
  }
}

INSTANTIATE_TEST_SUITE_P(Grid, HalfGroupedGemmTest,
                         testing::Combine(testing::Values(at::kBFloat16, at::kHalf),
                                          testing::Values(Case{{30, 0, 11}, 8, 16},
                                                          Case{{0, 0, 300, 1}, 64, 72})));

// Rows that are no whole 16 bytes: kAuto takes cuBLAS instead of at::_grouped_mm.
INSTANTIATE_TEST_SUITE_P(OddWidths, HalfGroupedGemmTest,
                         testing::Combine(testing::Values(at::kBFloat16, at::kHalf),
                                          testing::Values(Case{{30, 0, 11}, 9, 7})));

TEST(GroupedGemm, SameBitsForAnyNumberOfThreads) {
  const auto run = [](int num_threads) {
    const tests::ThreadCount threads(num_threads);
    const auto problem = make_problem({{700, 5, 0, 1300, 9}, 64, 130}, at::kFloat);
    const auto out_RO = grouped_gemm(problem.rows_RI, problem.weight_eOI, problem.num_rows_e);
    out_RO.backward(problem.grad_RO);
    return std::tuple(out_RO, problem.rows_RI.grad(), problem.weight_eOI.grad());
  };
  const auto [out_1, rows_1, weight_1] = run(1);
  const auto [out_3, rows_3, weight_3] = run(3);
  EXPECT_TRUE(all_equal(out_1, out_3));
  EXPECT_TRUE(all_equal(rows_1, rows_3));
  EXPECT_TRUE(all_equal(weight_1, weight_3));
}

TEST(GroupedGemm, RefusesWhatItCannotDo) {
  const auto rows_RI = at::ones({5, 4});
  const auto weight_eOI = at::ones({2, 3, 4});
  const auto num_rows_e = at::tensor({2, 3}, at::kLong);
  EXPECT_THROW(grouped_gemm(rows_RI, weight_eOI, at::tensor({2, 2}, at::kLong)), c10::Error);
  EXPECT_THROW(grouped_gemm(rows_RI, weight_eOI, at::tensor({6, -1}, at::kLong)), c10::Error);
  EXPECT_THROW(grouped_gemm(rows_RI, weight_eOI, at::tensor({5}, at::kLong)), c10::Error);
  EXPECT_THROW(grouped_gemm(rows_RI, weight_eOI, num_rows_e.to(at::kInt)), c10::Error);
  EXPECT_THROW(grouped_gemm(rows_RI, at::ones({2, 3, 5}), num_rows_e), c10::Error);
  EXPECT_THROW(grouped_gemm(rows_RI, weight_eOI.to(at::kDouble), num_rows_e), c10::Error);
  EXPECT_THROW(grouped_gemm(rows_RI, weight_eOI, num_rows_e, at::ones({2, 4, 3})), c10::Error);
  EXPECT_THROW(grouped_gemm(rows_RI, weight_eOI, num_rows_e, weight_eOI.to(at::kDouble)),
               c10::Error);
}

TEST(GroupedGemm, RefusesDoubleBackward) {
  const auto problem = make_problem({{3, 2}, 4, 5}, at::kDouble);
  const auto out_RO = grouped_gemm(problem.rows_RI, problem.weight_eOI, problem.num_rows_e);
  EXPECT_THROW(torch::autograd::grad({out_RO.square().sum()}, {problem.rows_RI}, {}, true,
                                     /*create_graph=*/true),
               c10::Error);
}

}  // namespace
}  // namespace moesaic::kernels
