#include "moe/experts.h"

#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include "tests/support/gradcheck.h"
#include "tests/support/random_tensor.h"
#include "tests/support/tensor_check.h"

namespace moesaic::moe {
namespace {

using tests::all_close;
using tests::random_tensor;

constexpr int64_t kHidden = 5;
constexpr int64_t kInner = 3;

at::Tensor counts(std::vector<int64_t> values) {
  return at::tensor(values, at::kLong);
}

Experts make_experts(int64_t num_experts, at::ScalarType dtype = at::kDouble) {
  Experts experts({kHidden, kInner, /*first_expert=*/0, num_experts});
  experts.gate_up_proj_e2FD = random_tensor({num_experts, 2 * kInner, kHidden}, 1, dtype);
  experts.down_proj_eDF = random_tensor({num_experts, kHidden, kInner}, 2, dtype);
  return experts;
}

at::Tensor one_expert_after_the_other(const Experts& experts, const at::Tensor& rows_RD,
                                      const std::vector<int64_t>& num_rows) {
  std::vector<at::Tensor> out;
  int64_t begin = 0;
  for (size_t e = 0; e < num_rows.size(); ++e) {
    const auto x = rows_RD.narrow(0, begin, num_rows[e]);
    const auto weights = experts.gate_up_proj_e2FD[static_cast<int64_t>(e)];
    const auto gate = x.mm(weights.narrow(0, 0, kInner).t());
    const auto up = x.mm(weights.narrow(0, kInner, kInner).t());
    out.push_back((at::silu(gate) * up).mm(experts.down_proj_eDF[static_cast<int64_t>(e)].t()));
    begin += num_rows[e];
  }
  return at::cat(out);
}

TEST(ExpertRange, CoversEveryExpertOnceInRunsThatDifferByAtMostOne) {
  for (int64_t num_ranks = 1; num_ranks <= 5; ++num_ranks) {
    for (int64_t num_experts = num_ranks; num_experts <= 11; ++num_experts) {
      int64_t next = 0;
      for (int64_t rank = 0; rank < num_ranks; ++rank) {
        const auto range = expert_range(rank, num_ranks, num_experts);
        EXPECT_EQ(range.begin, next);
        EXPECT_GE(range.size(), num_experts / num_ranks);
        EXPECT_LE(range.size(), (num_experts + num_ranks - 1) / num_ranks);
        next = range.end;
      }
      EXPECT_EQ(next, num_experts);
    }
  }
}

TEST(Experts, AreSwiGluNetworksOverTheirRuns) {
  for (const std::vector<int64_t>& num_rows :
       std::vector<std::vector<int64_t>>{{2, 0, 4, 1}, {0, 0, 0, 7}, {7, 0, 0, 0}, {0, 0, 0, 0}}) {
    for (const auto dtype : {at::kDouble, at::kFloat}) {
      const auto experts = make_experts(4, dtype);
      const auto total = counts(num_rows).sum().item<int64_t>();
      const auto rows_RD = random_tensor({total, kHidden}, 3, dtype);
      const double tolerance = dtype == at::kDouble ? 1e-13 : 1e-5;
      EXPECT_TRUE(all_close(experts(rows_RD, counts(num_rows)),
                            one_expert_after_the_other(experts, rows_RD, num_rows), tolerance,
                            tolerance))
          << counts(num_rows);
    }
  }
}

TEST(Experts, GradientsAreThoseOfCentralDifferences) {
  const auto start = make_experts(3);
  const auto network = [](const std::vector<at::Tensor>& in) {
    Experts experts({kHidden, kInner, 0, 3});
    experts.gate_up_proj_e2FD = in[1];
    experts.down_proj_eDF = in[2];
    return experts(in[0], counts({2, 0, 3}));
  };
  EXPECT_TRUE(tests::gradcheck(
      network, {random_tensor({5, kHidden}, 3), start.gate_up_proj_e2FD, start.down_proj_eDF}));
}

TEST(Experts, AnExpertWithoutRowsHasAGradientOfZero) {
  auto experts = make_experts(3);
  experts.gate_up_proj_e2FD.set_requires_grad(true);
  experts.down_proj_eDF.set_requires_grad(true);
  experts(random_tensor({5, kHidden}, 3), counts({2, 0, 3})).sum().backward();
  EXPECT_EQ(experts.gate_up_proj_e2FD.grad()[1].abs().max().item<double>(), 0.0);
  EXPECT_EQ(experts.down_proj_eDF.grad()[1].abs().max().item<double>(), 0.0);
  EXPECT_NE(experts.down_proj_eDF.grad()[0].abs().max().item<double>(), 0.0);
}

}  // namespace
}  // namespace moesaic::moe
