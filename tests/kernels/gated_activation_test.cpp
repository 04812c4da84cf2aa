#include "kernels/reference/gated_activation.h"

#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

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

// R, F, dtype
using Case = std::tuple<int64_t, int64_t, at::ScalarType>;

class GatedActivationTest : public testing::TestWithParam<Case> {};

TEST_P(GatedActivationTest, EqualsTheReferenceForwardAndBackward) {
  const auto [num_rows, width, dtype] = GetParam();
  const double tolerance = dtype == at::kDouble ? 1e-14 : dtype == at::kFloat ? 2e-6 : 8e-3;
  const auto actual = random_tensor({num_rows, 2 * width}, 51).mul(4).to(dtype);
  const auto expected = actual.clone();
  actual.set_requires_grad(true);
  expected.set_requires_grad(true);
  const auto out = gated_activation(actual);
  const auto expected_out = reference::gated_activation(expected);
  EXPECT_TRUE(all_close(out, expected_out, tolerance, tolerance));
  const auto grad = random_tensor({num_rows, width}, 52, dtype);
  out.backward(grad);
  expected_out.backward(grad);
  EXPECT_TRUE(all_close(actual.grad(), expected.grad(), tolerance, tolerance));
}

INSTANTIATE_TEST_SUITE_P(Grid, GatedActivationTest,
                         testing::Combine(testing::Values(0, 1, 37), testing::Values(0, 1, 7, 64),
                                          testing::Values(at::kFloat, at::kDouble, at::kBFloat16,
                                                          at::kHalf)));

TEST(GatedActivation, GradientsAreThoseOfCentralDifferences) {
  const auto activation = [](const std::vector<at::Tensor>& in) { return gated_activation(in[0]); };
  EXPECT_TRUE(tests::gradcheck(activation, {random_tensor({5, 14}, 53).mul(2)}));
  const auto transposed = [](const std::vector<at::Tensor>& in) {
    return gated_activation(in[0].t());
  };
  EXPECT_TRUE(tests::gradcheck(transposed, {random_tensor({6, 5}, 54)}));
}

TEST(GatedActivation, FarOutItIsTheGateOrZero) {
  for (const auto dtype : {at::kFloat, at::kDouble}) {
    const auto gate = at::tensor({-1000.0, -200.0, -90.0, 90.0, 200.0, 1000.0}, dtype);
    const auto gate_up = at::cat({gate, at::ones_like(gate)}).unsqueeze(0).set_requires_grad(true);
    const auto out = gated_activation(gate_up);
    EXPECT_TRUE(all_close(out[0], gate.clamp_min(0), 1e-6, 1e-36));
    out.sum().backward();
    EXPECT_TRUE(all_close(gate_up.grad()[0].narrow(0, 0, 6), gate.gt(0).to(dtype), 1e-6, 1e-35));
  }
}

TEST(GatedActivation, NotANumberStaysSo) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const auto out = gated_activation(at::tensor({nan, 1.0F, 1.0F, nan}).unsqueeze(0));
  EXPECT_TRUE(out.isnan().all().item<bool>());
}

TEST(GatedActivation, SameBitsForAnyNumberOfThreads) {
  const auto run = [](int num_threads) {
    const tests::ThreadCount threads(num_threads);
    const auto gate_up = random_tensor({900, 66}, 55, at::kFloat).set_requires_grad(true);
    const auto out = gated_activation(gate_up);
    out.backward(random_tensor({900, 33}, 56, at::kFloat));
    return std::pair(out, gate_up.grad());
  };
  const auto [out_1, grad_1] = run(1);
  const auto [out_4, grad_4] = run(4);
  EXPECT_TRUE(all_equal(out_1, out_4));
  EXPECT_TRUE(all_equal(grad_1, grad_4));
}

TEST(GatedActivation, RefusesWhatItCannotDo) {
  EXPECT_THROW(gated_activation(at::ones({3, 5})), c10::Error);
  EXPECT_THROW(gated_activation(at::ones({6})), c10::Error);
  EXPECT_THROW(gated_activation(at::ones({3, 6}, at::kLong)), c10::Error);
}

TEST(GatedActivation, RefusesDoubleBackward) {
  const auto gate_up = random_tensor({3, 4}, 57).set_requires_grad(true);
  const auto loss = gated_activation(gate_up).sum();
  EXPECT_THROW(torch::autograd::grad({loss}, {gate_up}, {}, true, /*create_graph=*/true),
               c10::Error);
}

}  // namespace
}  // namespace moesaic::kernels
