// Payloads are closed forms of (rank, token, column), so a wrong delivery cannot look right.
// Shapes: T tokens, D model width, E experts, e experts of this rank, K choices a token, R rows.
#include "moe/token_dispatcher.h"

#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include <tuple>

#include "moe/experts.h"
#include "tests/support/random_tensor.h"
#include "tests/support/spawn_ranks.h"
#include "tests/support/tensor_check.h"

namespace moesaic::moe {
namespace {

using parallel::FaultInjection;
using tests::all_close;
using tests::all_equal;
using tests::random_tensor;

constexpr int64_t kHidden = 3;
constexpr int64_t kExperts = 5;  // uneven over 2, 3 and 4 ranks
constexpr int64_t kTopK = 2;

enum class Load { kMixed, kRankOneIsEmpty, kOneExpertGetsAll, kNobodyHasTokens };

// What one rank brings; every rank can compute what any other one brings.
struct Tokens {
  at::Tensor x_TD;
  at::Tensor expert_idx_TK;
  at::Tensor weights_TK;
};

Tokens tokens_of(int rank, Load load) {
  int64_t num_tokens = 4 + rank;
  if (load == Load::kNobodyHasTokens || (load == Load::kRankOneIsEmpty && rank == 1)) {
    num_tokens = 0;
  }
  Tokens tokens;
  const auto token_T1 = at::arange(num_tokens, at::kDouble).unsqueeze(1);
  tokens.x_TD = token_T1.mul(10).add(1000.0 * (rank + 1)) + at::arange(kHidden, at::kDouble);
  const auto first_T1 = load == Load::kOneExpertGetsAll
                            ? at::full({num_tokens, 1}, kExperts - 1, at::kLong)
                            : tests::random_integers(kExperts, {num_tokens, 1}, 7 + rank);
  tokens.expert_idx_TK = at::cat({first_T1, first_T1.add(2).remainder(kExperts)}, 1);
  tokens.weights_TK = random_tensor({num_tokens, kTopK}, 17 + rank);
  return tokens;
}

Routing route(const Tokens& tokens) {
  const int64_t num_tokens = tokens.x_TD.size(0);
  return {tokens.weights_TK, kernels::plan_dispatch(tokens.expert_idx_TK, tokens.weights_TK,
                                                    kExperts, std::max<int64_t>(num_tokens, 1),
                                                    /*capacity=*/{})};
}

// Rows of expert after expert; of an expert source rank after source rank, token after token.
struct ExpectedRows {
  at::Tensor rows_RD;
  at::Tensor num_rows_e;
};

ExpectedRows expected_rows(ExpertRange range, int num_ranks, Load load) {
  std::vector<at::Tensor> rows = {at::empty({0, kHidden}, at::kDouble)};
  std::vector<int64_t> num_rows(range.size(), 0);
  for (int64_t e = range.begin; e < range.end; ++e) {
    for (int source = 0; source < num_ranks; ++source) {
      const auto tokens = tokens_of(source, load);
      const auto chosen_T = tokens.expert_idx_TK.eq(e).any(-1).nonzero().flatten();
      rows.push_back(tokens.x_TD.index_select(0, chosen_T));
      num_rows[e - range.begin] += chosen_T.numel();
    }
  }
  return {at::cat(rows), at::tensor(num_rows, at::kLong)};
}

using Case = std::tuple<int, Load>;
class AllToAllTest : public testing::TestWithParam<Case> {
 protected:
  int num_ranks() const { return std::get<0>(GetParam()); }
  Load load() const { return std::get<1>(GetParam()); }
};

TEST_P(AllToAllTest, RowsArriveBitwiseInOrderOfExpertRankAndToken) {
  tests::spawn_ranks(num_ranks(), [&](parallel::CommunicatorPtr expert) {
    AllToAllTokenDispatcher dispatcher(expert, kExperts, nullptr);
    const auto tokens = tokens_of(expert->rank(), load());
    const auto dispatched = dispatcher.dispatch(tokens.x_TD, route(tokens));
    const auto range = expert_range(expert->rank(), expert->size(), kExperts);
    const auto expected = expected_rows(range, expert->size(), load());
    EXPECT_TRUE(all_equal(dispatched.rows_RD, expected.rows_RD)) << "rank " << expert->rank();
    EXPECT_TRUE(all_equal(dispatched.num_rows_e, expected.num_rows_e));
  });
}

TEST_P(AllToAllTest, IdentityExpertsGiveTheTokenTimesItsWeights) {
  tests::spawn_ranks(num_ranks(), [&](parallel::CommunicatorPtr expert) {
    AllToAllTokenDispatcher dispatcher(expert, kExperts, nullptr);
    const auto tokens = tokens_of(expert->rank(), load());
    const auto routing = route(tokens);
    const auto dispatched = dispatcher.dispatch(tokens.x_TD, routing);
    const auto out_TD = dispatcher.combine(dispatched.rows_RD, routing, dispatched);
    EXPECT_TRUE(
        all_close(out_TD, tokens.x_TD * tokens.weights_TK.sum(-1, /*keepdim=*/true), 1e-12, 1e-10));
  });
}

// Expert e multiplies by e + 1: out = sum_k w_k (e_k + 1) x, whose gradients are written down.
TEST_P(AllToAllTest, GradientsFindTheirWayBack) {
  tests::spawn_ranks(num_ranks(), [&](parallel::CommunicatorPtr expert) {
    AllToAllTokenDispatcher dispatcher(expert, kExperts, nullptr);
    auto tokens = tokens_of(expert->rank(), load());
    tokens.x_TD.set_requires_grad(true);
    tokens.weights_TK.set_requires_grad(true);
    const auto routing = route(tokens);
    const auto range = expert_range(expert->rank(), expert->size(), kExperts);
    const auto factor_e = at::arange(range.begin + 1, range.end + 1, at::kDouble);
    const auto dispatched = dispatcher.dispatch(tokens.x_TD, routing);
    const auto factor_R1 =
        at::repeat_interleave(factor_e, dispatched.num_rows_e, /*dim=*/0).unsqueeze(1);
    const auto v_TD = random_tensor(tokens.x_TD.sizes(), 27 + expert->rank());
    dispatcher.combine(dispatched.rows_RD * factor_R1, routing, dispatched).backward(v_TD);

    const auto factor_TK = tokens.expert_idx_TK.add(1).to(at::kDouble);
    const auto weights_TK = tokens.weights_TK.detach();
    EXPECT_TRUE(all_close(tokens.x_TD.grad(),
                          v_TD * (weights_TK * factor_TK).sum(-1, /*keepdim=*/true), 1e-12, 1e-12));
    EXPECT_TRUE(all_close(tokens.weights_TK.grad(),
                          factor_TK * (v_TD * tokens.x_TD.detach()).sum(-1, /*keepdim=*/true),
                          1e-12, 1e-9));
  });
}

INSTANTIATE_TEST_SUITE_P(Grid, AllToAllTest,
                         testing::Combine(testing::Values(1, 2, 3, 4),
                                          testing::Values(Load::kMixed, Load::kRankOneIsEmpty,
                                                          Load::kOneExpertGetsAll,
                                                          Load::kNobodyHasTokens)));

TEST(LocalTokenDispatcher, RowsAndResultsAreThoseOfTheExchangeOnOneRank) {
  for (const auto load : {Load::kMixed, Load::kOneExpertGetsAll, Load::kNobodyHasTokens}) {
    TokenDispatcher dispatcher(nullptr);
    const auto tokens = tokens_of(0, load);
    const auto routing = route(tokens);
    const auto dispatched = dispatcher.dispatch(tokens.x_TD, routing);
    const auto expected = expected_rows({0, kExperts}, 1, load);
    EXPECT_TRUE(all_equal(dispatched.rows_RD, expected.rows_RD));
    EXPECT_TRUE(all_equal(dispatched.num_rows_e, expected.num_rows_e));
    EXPECT_TRUE(all_close(dispatcher.combine(dispatched.rows_RD, routing, dispatched),
                          tokens.x_TD * tokens.weights_TK.sum(-1, /*keepdim=*/true), 1e-12, 1e-10));
  }
}

TEST(LocalTokenDispatcher, DroppedChoicesAreNeitherSentNorAdded) {
  TokenDispatcher dispatcher(nullptr);
  auto tokens = tokens_of(0, Load::kOneExpertGetsAll);  // 4 tokens, all to experts 4 and 1
  tokens.weights_TK.set_requires_grad(true);
  // ceil(1.25 * 4 * 2 / 5) = 2 places an expert: the first two tokens keep theirs.
  const Routing routing = {tokens.weights_TK,
                           kernels::plan_dispatch(tokens.expert_idx_TK, tokens.weights_TK, kExperts,
                                                  4, {.factor = 1.25})};
  const auto dispatched = dispatcher.dispatch(tokens.x_TD, routing);
  EXPECT_EQ(dispatched.rows_RD.size(0), 4);
  const auto out_TD = dispatcher.combine(dispatched.rows_RD, routing, dispatched);
  EXPECT_TRUE(all_equal(out_TD.narrow(0, 2, 2), at::zeros({2, kHidden}, at::kDouble)));
  out_TD.sum().backward();
  EXPECT_TRUE(
      all_equal(tokens.weights_TK.grad().narrow(0, 2, 2), at::zeros({2, kTopK}, at::kDouble)));
  EXPECT_GT(tokens.weights_TK.grad().narrow(0, 0, 2).abs().min().item<double>(), 1.0);
}

TEST(LocalTokenDispatcher, DropRowZeroesOneRow) {
  const auto fault = std::make_shared<FaultInjection>();
  fault->kind = FaultInjection::Kind::drop_row;
  const auto tokens = tokens_of(0, Load::kMixed);
  const auto rows = [&] {
    return TokenDispatcher(fault).dispatch(tokens.x_TD, route(tokens)).rows_RD;
  };
  EXPECT_EQ(rows().eq(0).all(-1).sum().item<int64_t>(), 0);  // not active: not on this rank
  EXPECT_EQ(fault->hits.load(), 0);
  fault->active = true;
  EXPECT_EQ(rows().eq(0).all(-1).sum().item<int64_t>(), 1);
  EXPECT_EQ(fault->hits.load(), 1);
}

TEST(AllToAllTokenDispatcher, EveryRankNeedsAnExpert) {
  tests::spawn_ranks(3, [](parallel::CommunicatorPtr expert) {
    EXPECT_THROW(AllToAllTokenDispatcher(expert, 2, nullptr), c10::Error);
  });
}

}  // namespace
}  // namespace moesaic::moe
