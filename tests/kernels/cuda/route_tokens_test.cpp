// Routing through the CUDA kernels, against kernels/reference.
#include "kernels/cuda/route_tokens.h"

#include <ATen/OpMathType.h>
#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <limits>
#include <memory>
#include <tuple>

#include "kernels/reference/route_tokens.h"
#include "tests/kernels/cuda/device_buffer.h"
#include "tests/kernels/cuda/element_type.h"
#include "tests/kernels/cuda/for_each_order.h"
#include "tests/kernels/cuda/grids.h"
#include "tests/support/random_tensor.h"
#include "tests/support/tensor_check.h"

MOESAIC_KERNEL_TEST(route_tokens_kernel)
MOESAIC_KERNEL_TEST(route_tokens_backward_kernel)

namespace moesaic::kernels::cuda {
namespace {

using tests::all_close;
using tests::all_equal;
using tests::for_each_order;
using tests::random_tensor;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr int64_t kUnwritten = -77;

struct Routed {
  at::Tensor expert_idx_TK;
  at::Tensor weights_TK;
  at::Tensor probs_TE;
  at::Tensor logsumexp_T;
  at::Tensor nan_found;
};

RouteShape shape_of(const at::Tensor& logits_TE, const RouteOptions& options) {
  return {.num_tokens = logits_TE.size(0),
          .num_experts = logits_TE.size(1),
          .top_k = options.top_k,
          .softmax_before_top_k = options.softmax_before_top_k,
          .norm_topk_prob = options.norm_topk_prob};
}

// Device memory that shows where a kernel did not write.
template <class T>
DeviceBuffer<T> unwritten(at::IntArrayRef sizes) {
  return DeviceBuffer<T>(at::full(sizes, kUnwritten, dtype_of<T>()));
}

template <class T>
Routed run_forward_as(const at::Tensor& logits_TE, const RouteOptions& options,
                      int64_t max_blocks) {
  using Value = Accumulate<T>;
  const auto shape = shape_of(logits_TE, options);
  const DeviceBuffer<T> logits(logits_TE);
  const auto expert_idx = unwritten<int64_t>({shape.num_tokens, shape.top_k});
  const auto weights = unwritten<Value>({shape.num_tokens, shape.top_k});
  const auto probs = unwritten<Value>({shape.num_tokens, shape.num_experts});
  const auto logsumexp = unwritten<Value>({shape.num_tokens});
  const DeviceBuffer<int32_t> nan_found(at::zeros({1}, at::kInt));
  route_tokens<T>(logits.data(), shape, expert_idx.data(), weights.data(), probs.data(),
                  logsumexp.data(), nan_found.data(), nullptr, max_blocks);
  return {expert_idx.to_tensor({shape.num_tokens, shape.top_k}),
          weights.to_tensor({shape.num_tokens, shape.top_k}),
          probs.to_tensor({shape.num_tokens, shape.num_experts}),
          logsumexp.to_tensor({shape.num_tokens}), nan_found.to_tensor({1})};
}

Routed run_forward(const at::Tensor& logits_TE, const RouteOptions& options,
                   int64_t max_blocks = kMaxBlocks) {
  Routed routed;
  for_element_type(logits_TE.scalar_type(), [&](auto element) {
    routed = run_forward_as<decltype(element)>(logits_TE, options, max_blocks);
  });
  return routed;
}

// The gradients that come in; undefined: null.
struct Incoming {
  at::Tensor weights_TK;
  at::Tensor probs_TE;
  at::Tensor logsumexp_T;
};

template <class Value>
at::Tensor run_backward_as(const Routed& routed, const Incoming& grads, const RouteOptions& options,
                           int64_t max_blocks) {
  const auto copied = [](const at::Tensor& tensor) {
    return tensor.defined() ? std::make_unique<DeviceBuffer<Value>>(tensor) : nullptr;
  };
  const auto grad_weights = copied(grads.weights_TK);
  const auto grad_probs = copied(grads.probs_TE);
  const auto grad_logsumexp = copied(grads.logsumexp_T);
  const auto pointer = [](const auto& buffer) { return buffer ? buffer->data() : nullptr; };
  const DeviceBuffer<int64_t> expert_idx(routed.expert_idx_TK);
  const DeviceBuffer<Value> weights(routed.weights_TK);
  const DeviceBuffer<Value> probs(routed.probs_TE);
  const auto grad_logits = unwritten<Value>(routed.probs_TE.sizes());
  route_tokens_backward<Value>(pointer(grad_weights), pointer(grad_probs), pointer(grad_logsumexp),
                               expert_idx.data(), weights.data(), probs.data(),
                               shape_of(routed.probs_TE, options), grad_logits.data(), nullptr,
                               max_blocks);
  return grad_logits.to_tensor(routed.probs_TE.sizes());
}

at::Tensor run_backward(const Routed& routed, const Incoming& grads, const RouteOptions& options,
                        int64_t max_blocks = kMaxBlocks) {
  return routed.probs_TE.scalar_type() == at::kDouble
             ? run_backward_as<double>(routed, grads, options, max_blocks)
             : run_backward_as<float>(routed, grads, options, max_blocks);
}

void expect_same_bits(const Routed& actual, const Routed& expected) {
  EXPECT_TRUE(all_equal(actual.expert_idx_TK, expected.expert_idx_TK));
  EXPECT_TRUE(all_equal(actual.weights_TK, expected.weights_TK));
  EXPECT_TRUE(all_equal(actual.probs_TE, expected.probs_TE));
  EXPECT_TRUE(all_equal(actual.logsumexp_T, expected.logsumexp_T));
  EXPECT_TRUE(all_equal(actual.nan_found, expected.nan_found));
}

// T tokens, E experts, K choices, softmax before top-k, renormalise.
using Case = std::tuple<int64_t, int64_t, int64_t, bool, bool>;

class CudaRouteTokensTest : public testing::TestWithParam<Case> {
 protected:
  int64_t num_tokens() const { return std::get<0>(GetParam()); }
  int64_t num_experts() const { return std::get<1>(GetParam()); }
  RouteOptions options() const {
    return {.top_k = std::get<2>(GetParam()),
            .softmax_before_top_k = std::get<3>(GetParam()),
            .norm_topk_prob = std::get<4>(GetParam())};
  }
};

TEST_P(CudaRouteTokensTest, ChoosesAsTheReference) {
  for (const auto dtype : {at::kFloat, at::kDouble, at::kBFloat16, at::kHalf}) {
    const auto logits_TE = random_tensor({num_tokens(), num_experts()}, 1, dtype).mul(3);
    const auto expected = reference::route_tokens(logits_TE, options());
    const auto logsumexp_T = at::logsumexp(logits_TE.to(expected.probs_TE.scalar_type()), -1);
    const double tolerance = dtype == at::kDouble ? 1e-13 : 2e-6;
    const auto routed = run_forward(logits_TE, options());
    EXPECT_TRUE(all_equal(routed.expert_idx_TK, expected.expert_idx_TK)) << dtype;
    EXPECT_TRUE(all_close(routed.weights_TK, expected.weights_TK, tolerance, 0)) << dtype;
    EXPECT_TRUE(all_close(routed.probs_TE, expected.probs_TE, tolerance, 0)) << dtype;
    EXPECT_TRUE(all_close(routed.logsumexp_T, logsumexp_T, tolerance, tolerance)) << dtype;
    EXPECT_EQ(routed.nan_found.item<int32_t>(), 0);
    if (options().softmax_before_top_k && !options().norm_topk_prob) {
      EXPECT_TRUE(all_equal(routed.weights_TK, routed.probs_TE.gather(-1, routed.expert_idx_TK)));
    }
    for_each_order([&] {
      for (const int64_t max_blocks : grids()) {
        expect_same_bits(run_forward(logits_TE, options(), max_blocks), routed);
      }
    });
  }
}

TEST_P(CudaRouteTokensTest, GradientsAreThoseOfTheReference) {
  for (const auto dtype : {at::kDouble, at::kFloat}) {
    const auto logits_TE = random_tensor({num_tokens(), num_experts()}, 2, dtype);
    const auto routed = run_forward(logits_TE, options());
    const auto grad_weights_TK = random_tensor({num_tokens(), options().top_k}, 3, dtype);
    const auto grad_probs_TE = random_tensor({num_tokens(), num_experts()}, 4, dtype);
    const auto grad_logsumexp_T = random_tensor({num_tokens()}, 5, dtype);
    for (const auto& grads :
         {Incoming{grad_weights_TK, {}, {}}, Incoming{{}, grad_probs_TE, {}},
          Incoming{grad_weights_TK, grad_probs_TE, {}}, Incoming{{}, {}, grad_logsumexp_T},
          Incoming{grad_weights_TK, grad_probs_TE, grad_logsumexp_T}, Incoming{}}) {
      const auto leaf_TE = logits_TE.to(at::kDouble).detach().set_requires_grad(true);
      const auto expected = reference::route_tokens(leaf_TE, options());
      auto loss = leaf_TE.sum() * 0;
      if (grads.weights_TK.defined()) {
        loss = loss + (expected.weights_TK * grads.weights_TK).sum();
      }
      if (grads.probs_TE.defined()) {
        loss = loss + (expected.probs_TE * grads.probs_TE).sum();
      }
      if (grads.logsumexp_T.defined()) {
        loss = loss + (at::logsumexp(leaf_TE, -1) * grads.logsumexp_T).sum();
      }
      const auto grad_TE = torch::autograd::grad({loss}, {leaf_TE})[0];
      const double tolerance = dtype == at::kDouble ? 1e-13 : 2e-6;
      const auto actual_TE = run_backward(routed, grads, options());
      EXPECT_TRUE(all_close(actual_TE.to(at::kDouble), grad_TE, tolerance, tolerance));
      for_each_order([&] {
        for (const int64_t max_blocks : grids()) {
          EXPECT_TRUE(all_equal(run_backward(routed, grads, options(), max_blocks), actual_TE));
        }
      });
    }
  }
}

// Every number of logits a lane, the boundaries between them, and more than registers hold.
INSTANTIATE_TEST_SUITE_P(Grid, CudaRouteTokensTest,
                         testing::Values(Case{0, 4, 2, true, false}, Case{1, 4, 2, true, true},
                                         Case{5, 1, 1, true, false}, Case{17, 6, 1, true, false},
                                         Case{17, 6, 2, true, false}, Case{17, 6, 2, true, true},
                                         Case{17, 6, 2, false, false}, Case{17, 6, 2, false, true},
                                         Case{6, 5, 5, true, false}, Case{6, 5, 5, true, true},
                                         Case{6, 5, 5, false, false}, Case{20, 64, 8, true, true},
                                         Case{9, 33, 8, false, false}, Case{9, 32, 32, true, true},
                                         Case{9, 65, 8, true, false}, Case{3, 129, 4, true, true},
                                         Case{3, 257, 4, false, false}, Case{2, 513, 4, true, true},
                                         Case{2, 1024, 3, true, false},
                                         Case{2, 1025, 3, true, true}));

// More choices than lanes: what is stored before the sum of the weights is known.
INSTANTIATE_TEST_SUITE_P(ManyChoices, CudaRouteTokensTest,
                         testing::Values(Case{2, 40, 33, true, true}, Case{2, 70, 70, false, true},
                                         Case{2, 70, 64, true, false}, Case{2, 70, 64, true, true},
                                         Case{2, 70, 65, false, false}));

TEST(CudaRouteTokens, TiesGoToTheLowestId) {
  const auto logits_TE = at::tensor({1, 3, 2, 3, 0, 2, 3, 2}, at::kFloat).unsqueeze(0);
  const auto expected = at::tensor({1, 3, 6, 2, 5}, at::kLong).unsqueeze(0);
  const auto signed_zeros_TE = at::tensor({-0.0f, 0.0f, -0.0f, -1.0f, 0.0f}).unsqueeze(0);
  for (const auto dtype : {at::kFloat, at::kDouble, at::kBFloat16, at::kHalf}) {
    for_each_order([&] {
      const auto equal = run_forward(at::zeros({3, 70}, dtype), {.top_k = 40});
      EXPECT_TRUE(all_equal(equal.expert_idx_TK, at::arange(40).expand({3, 40})));
      const auto routed = run_forward(logits_TE.to(dtype), {.top_k = 5});
      EXPECT_TRUE(all_equal(routed.expert_idx_TK, expected));
      const auto zeros = run_forward(signed_zeros_TE.to(dtype), {.top_k = 5});
      EXPECT_TRUE(
          all_equal(zeros.expert_idx_TK, at::tensor({0, 1, 2, 4, 3}, at::kLong).unsqueeze(0)));
    });
  }
}

// Logits that differ in their last bit, in any order.
TEST(CudaRouteTokens, NeighboursAreNoTies) {
  const auto order_TE =
      random_tensor({3, 70}, 7).argsort(/*stable=*/true, /*dim=*/-1).to(at::kDouble);
  for (const auto dtype : {at::kFloat, at::kDouble}) {
    const double epsilon = dtype == at::kFloat ? 0x1p-23 : 0x1p-52;
    const auto logits_TE = order_TE.mul(epsilon).add(1).to(dtype);
    const auto expected = reference::route_tokens(logits_TE, {.top_k = 70});
    for_each_order([&] {
      EXPECT_TRUE(
          all_equal(run_forward(logits_TE, {.top_k = 70}).expert_idx_TK, expected.expert_idx_TK));
    });
  }
}

// All but one probability is zero in float32; the logits still tell the experts apart.
TEST(CudaRouteTokens, UnderflowOfTheSoftmaxMakesNoTies) {
  const auto logits_TE = at::tensor({-300, -200, 0, -250}, at::kFloat).unsqueeze(0);
  for_each_order([&] {
    const auto routed = run_forward(logits_TE, {.top_k = 3});
    EXPECT_TRUE(all_equal(routed.expert_idx_TK, at::tensor({2, 1, 3}, at::kLong).unsqueeze(0)));
  });
}

TEST(CudaRouteTokens, NonFiniteLogitsGiveValidIdsAndRaiseTheFlag) {
  // 8 experts in registers and 1100 that are read again at every choice.
  for (const int64_t num_experts : {8, 1100}) {
    auto logits_TE = random_tensor({7, num_experts}, 3, at::kFloat);
    logits_TE[0].fill_(kNan);
    logits_TE[1][3] = kNan;
    logits_TE[1][6] = -kNan;
    logits_TE[2].fill_(-kInfinity);
    logits_TE[3][5] = kInfinity;
    logits_TE[4].fill_(kInfinity);
    logits_TE[5][2] = -kInfinity;
    const RouteOptions options{.top_k = 3};
    for (const auto dtype : {at::kFloat, at::kDouble, at::kBFloat16, at::kHalf}) {
      const auto expected = reference::route_tokens(logits_TE.to(dtype), options);
      const auto logsumexp_T =
          at::logsumexp(logits_TE.to(dtype).to(expected.probs_TE.scalar_type()), -1);
      for_each_order([&] {
        const auto routed = run_forward(logits_TE.to(dtype), options);
        EXPECT_TRUE(all_equal(routed.expert_idx_TK, expected.expert_idx_TK)) << dtype;
        EXPECT_TRUE(all_equal(routed.weights_TK.isnan(), expected.weights_TK.isnan())) << dtype;
        EXPECT_TRUE(all_equal(routed.probs_TE.isnan(), expected.probs_TE.isnan())) << dtype;
        EXPECT_TRUE(at::allclose(routed.logsumexp_T, logsumexp_T, 1e-6, 1e-6, true)) << dtype;
        EXPECT_EQ(routed.nan_found.item<int32_t>(), 1);
      });
    }
    EXPECT_EQ(run_forward(logits_TE.slice(0, 5).contiguous(), options).nan_found.item<int32_t>(),
              0);
    for (const int64_t t : {0, 1, 2, 3, 4}) {
      const auto routed = run_forward(logits_TE.slice(0, t, t + 1).contiguous(), options);
      EXPECT_EQ(routed.nan_found.item<int32_t>(), 1) << t;
    }
  }
}

TEST(CudaRouteTokens, TheFlagIsNotClearedAndLogsumexpIsOptional) {
  const RouteOptions options{.top_k = 2};
  const auto logits_TE = random_tensor({3, 4}, 6, at::kFloat);
  const DeviceBuffer<float> logits(logits_TE);
  const auto expert_idx = unwritten<int64_t>({3, 2});
  const auto weights = unwritten<float>({3, 2});
  const auto probs = unwritten<float>({3, 4});
  const DeviceBuffer<int32_t> nan_found(at::ones({1}, at::kInt));
  route_tokens<float>(logits.data(), shape_of(logits_TE, options), expert_idx.data(),
                      weights.data(), probs.data(), /*logsumexp_T=*/nullptr, nan_found.data(),
                      nullptr);
  EXPECT_EQ(nan_found.to_tensor({1}).item<int32_t>(), 1);
  EXPECT_TRUE(all_equal(probs.to_tensor({3, 4}), run_forward(logits_TE, options).probs_TE));
}

TEST(CudaRouteTokens, RefusesImpossibleSizes) {
  for (const auto& shape : {RouteShape{.num_tokens = 1, .num_experts = 0, .top_k = 1},
                            RouteShape{.num_tokens = 1, .num_experts = 4, .top_k = 0},
                            RouteShape{.num_tokens = 1, .num_experts = 4, .top_k = 5},
                            RouteShape{.num_tokens = -1, .num_experts = 4, .top_k = 1},
                            RouteShape{.num_experts = int64_t{INT32_MAX} + 1}}) {
    EXPECT_THROW(
        route_tokens<float>(nullptr, shape, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr),
        std::invalid_argument);
    EXPECT_THROW(route_tokens_backward<float>(nullptr, nullptr, nullptr, nullptr, nullptr, nullptr,
                                              shape, nullptr, nullptr),
                 std::invalid_argument);
  }
  EXPECT_NO_THROW(route_tokens<float>(nullptr, RouteShape{.num_experts = INT32_MAX}, nullptr,
                                      nullptr, nullptr, nullptr, nullptr, nullptr));
}

}  // namespace
}  // namespace moesaic::kernels::cuda
