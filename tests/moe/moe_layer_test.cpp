// Shapes: T tokens, D model width, F expert width, E experts, K choices a token.
#include "moe/moe_layer.h"

#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include <tuple>

#include "tests/support/random_tensor.h"
#include "tests/support/spawn_ranks.h"
#include "tests/support/tensor_check.h"

namespace moesaic::moe {
namespace {

using tests::all_close;
using tests::random_tensor;

constexpr int64_t kHidden = 4;
constexpr int64_t kInner = 3;
constexpr int64_t kLength = 6;  // tokens of a sequence; rank r brings r + 1 sequences

struct Weights {
  at::Tensor router_ED;
  at::Tensor gate_up_E2FD;
  at::Tensor down_EDF;
};

Weights make_weights(int64_t num_experts) {
  return {random_tensor({num_experts, kHidden}, 1),
          random_tensor({num_experts, 2 * kInner, kHidden}, 2),
          random_tensor({num_experts, kHidden, kInner}, 3)};
}

// A layer of one rank with its part of the weights, and the leaves to look at.
struct LocalLayer {
  MoeLayer layer;
  Weights leaves;
  ExpertRange range;
};

LocalLayer make_layer(const Weights& weights, int64_t top_k, std::optional<double> factor,
                      const parallel::CommunicatorPtr& expert) {
  const int64_t num_experts = weights.router_ED.size(0);
  RouterOptions router;
  router.hidden_size = kHidden;
  router.num_experts = num_experts;
  router.route = {.top_k = top_k};
  router.capacity.factor = factor;
  const auto range = expert_range(expert->rank(), expert->size(), num_experts);
  std::shared_ptr<TokenDispatcher> dispatcher;
  if (expert->size() == 1) {
    dispatcher = std::make_shared<TokenDispatcher>(nullptr);
  } else {
    dispatcher = std::make_shared<AllToAllTokenDispatcher>(expert, num_experts, nullptr);
  }
  LocalLayer local = {
      MoeLayer(router, {kHidden, kInner, range.begin, range.size()}, dispatcher), {}, range};
  const auto mine = [&](const at::Tensor& all_E) {
    return all_E.narrow(0, range.begin, range.size()).clone();
  };
  local.leaves = {weights.router_ED.clone(), mine(weights.gate_up_E2FD), mine(weights.down_EDF)};
  const std::vector<at::Tensor> leaves = {local.leaves.router_ED, local.leaves.gate_up_E2FD,
                                          local.leaves.down_EDF};
  const auto parameters = local.layer.declare("layers.0.mlp", "model.layers.0.mlp.");
  EXPECT_EQ(parameters.size(), leaves.size());
  for (size_t i = 0; i < leaves.size(); ++i) {
    EXPECT_EQ(at::IntArrayRef(parameters[i].spec.shape), leaves[i].sizes());
    *parameters[i].spec.tensor = leaves[i].set_requires_grad(true);
  }
  return local;
}

at::Tensor tokens_of(int rank) {
  return random_tensor({(rank + 1) * kLength, kHidden}, 10 + rank);
}

// Every expert on every token, times the weight of the choice: zero where it was not chosen, or was
// dropped because the expert was full of earlier tokens of the sequence.
at::Tensor dense_formula(const Weights& weights, int64_t top_k, std::optional<double> factor,
                         const at::Tensor& x_TD) {
  const int64_t num_experts = weights.router_ED.size(0);
  const auto probs_TE = at::softmax(x_TD.mm(weights.router_ED.t()), -1);
  const auto chosen_TE =
      at::zeros_like(probs_TE).scatter(1, std::get<1>(at::topk(probs_TE.detach(), top_k, -1)), 1.0);
  auto kept_TE = chosen_TE;
  if (factor) {
    const double capacity = std::ceil(*factor * static_cast<double>(kLength * top_k) /
                                      static_cast<double>(num_experts));
    const auto place_BSE = chosen_TE.view({-1, kLength, num_experts}).cumsum(1);
    kept_TE = chosen_TE * place_BSE.view_as(chosen_TE).le(capacity);
  }
  auto out_TD = at::zeros_like(x_TD);
  for (int64_t e = 0; e < num_experts; ++e) {
    const auto gate_up = x_TD.mm(weights.gate_up_E2FD[e].t()).chunk(2, -1);
    const auto y_TD = (at::silu(gate_up[0]) * gate_up[1]).mm(weights.down_EDF[e].t());
    out_TD = out_TD + (probs_TE * kept_TE).select(1, e).unsqueeze(1) * y_TD;
  }
  return out_TD;
}

using Case = std::tuple<int, int64_t, int64_t, std::optional<double>>;  // ranks, E, K, factor
class MoeLayerTest : public testing::TestWithParam<Case> {};

TEST_P(MoeLayerTest, OutputsAndGradientsAreThoseOfTheDenseFormula) {
  const auto& [num_ranks, num_experts, top_k, factor] = GetParam();
  const auto start = make_weights(num_experts);
  // The reference: tokens of all ranks against whole weights; the objective is a sum over ranks.
  auto whole = start;
  std::vector<at::Tensor> expected_x;
  std::vector<at::Tensor> expected_out;
  for (auto* leaf : {&whole.router_ED, &whole.gate_up_E2FD, &whole.down_EDF}) {
    *leaf = leaf->clone().set_requires_grad(true);
  }
  for (int rank = 0; rank < num_ranks; ++rank) {
    const auto x_TD = tokens_of(rank).set_requires_grad(true);
    const auto out_TD = dense_formula(whole, top_k, factor, x_TD);
    out_TD.backward(random_tensor(out_TD.sizes(), 20 + rank));
    expected_out.push_back(out_TD.detach());
    expected_x.push_back(x_TD.grad());
  }

  tests::spawn_ranks(num_ranks, [&](parallel::CommunicatorPtr expert) {
    const int rank = expert->rank();
    auto local = make_layer(start, top_k, factor, expert);
    const auto x_TD = tokens_of(rank).set_requires_grad(true);
    const LayerContext context = {
        .num_sequences = rank + 1, .sequence_length = kLength, .training = true};
    const auto out_TD = local.layer(x_TD, context);
    out_TD.backward(random_tensor(out_TD.sizes(), 20 + rank));
    EXPECT_TRUE(all_close(out_TD, expected_out[rank], 1e-12, 1e-13)) << "rank " << rank;
    EXPECT_TRUE(all_close(x_TD.grad(), expected_x[rank], 1e-11, 1e-12)) << "rank " << rank;
    const auto mine = [&](const at::Tensor& gradient_E) {
      return gradient_E.narrow(0, local.range.begin, local.range.size());
    };
    EXPECT_TRUE(
        all_close(local.leaves.gate_up_E2FD.grad(), mine(whole.gate_up_E2FD.grad()), 1e-11, 1e-12));
    EXPECT_TRUE(all_close(local.leaves.down_EDF.grad(), mine(whole.down_EDF.grad()), 1e-11, 1e-12));
    const auto router_gradient = local.leaves.router_ED.grad();
    expert->all_reduce_sum(router_gradient)->wait();
    EXPECT_TRUE(all_close(router_gradient, whole.router_ED.grad(), 1e-11, 1e-12));
  });
}

INSTANTIATE_TEST_SUITE_P(Grid, MoeLayerTest,
                         testing::Values(Case{1, 4, 2, std::nullopt}, Case{1, 4, 4, std::nullopt},
                                         Case{1, 4, 2, 0.5}, Case{2, 4, 2, std::nullopt},
                                         Case{2, 5, 2, 0.7}, Case{3, 4, 1, std::nullopt},
                                         Case{3, 3, 3, std::nullopt}, Case{3, 5, 3, 0.5}));

TEST(MoeLayer, OneExpertIsADenseSwiGlu) {
  const auto weights = make_weights(1);
  const auto x_TD = tokens_of(0);
  const auto local = make_layer(weights, 1, std::nullopt, parallel::make_single_communicator());
  const auto gate_up = x_TD.mm(weights.gate_up_E2FD[0].t()).chunk(2, -1);
  EXPECT_TRUE(all_close(local.layer(x_TD, {.num_sequences = 1, .sequence_length = kLength}),
                        (at::silu(gate_up[0]) * gate_up[1]).mm(weights.down_EDF[0].t()), 1e-13,
                        1e-13));
}

}  // namespace
}  // namespace moesaic::moe
