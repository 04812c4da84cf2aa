#include "kernels/reference/plan_dispatch.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <tuple>
#include <vector>

#include "kernels/backend.h"
#include "kernels/ops.h"
#include "tests/support/random_tensor.h"
#include "tests/support/tensor_check.h"
#include "tests/support/thread_count.h"

namespace moesaic::kernels {
namespace {

using tests::all_equal;
using tests::random_integers;
using tests::random_tensor;

at::Tensor as_tensor(const std::vector<int64_t>& values, at::IntArrayRef sizes) {
  return at::tensor(values, at::kLong).view(sizes);
}

// The plan by the words of its definition, a list at a time.
DispatchPlan slow_plan(const at::Tensor& expert_idx_TK, const at::Tensor& weights_TK,
                       int64_t num_experts, int64_t tokens_per_group,
                       std::optional<int64_t> capacity, DropPolicy policy) {
  const int64_t num_choices = expert_idx_TK.numel();
  const int64_t choices_per_group = tokens_per_group * expert_idx_TK.size(1);
  const auto weight = [&](int64_t a) { return weights_TK.flatten()[a].item<double>(); };
  std::vector<int64_t> ids(static_cast<size_t>(num_choices));
  std::copy_n(expert_idx_TK.const_data_ptr<int64_t>(), num_choices, ids.begin());
  std::vector<int64_t> counts;
  std::vector<std::vector<int64_t>> rows_of_expert(static_cast<size_t>(num_experts));
  for (int64_t first = 0; first < num_choices; first += choices_per_group) {
    for (int64_t e = 0; e < num_experts; ++e) {
      std::vector<int64_t> candidates;
      for (int64_t a = first; a < first + choices_per_group; ++a) {
        if (ids[static_cast<size_t>(a)] == e) {
          candidates.push_back(a);
        }
      }
      counts.push_back(static_cast<int64_t>(candidates.size()));
      if (capacity && *capacity < counts.back()) {
        if (policy == DropPolicy::kProbability) {
          std::stable_sort(candidates.begin(), candidates.end(),
                           [&](int64_t a, int64_t b) { return weight(a) > weight(b); });
        }
        candidates.resize(static_cast<size_t>(*capacity));
        std::sort(candidates.begin(), candidates.end());
      }
      auto& rows = rows_of_expert[static_cast<size_t>(e)];
      rows.insert(rows.end(), candidates.begin(), candidates.end());
    }
  }
  std::vector<int64_t> source;
  std::vector<int64_t> num_rows;
  std::vector<int64_t> row_of_choice(static_cast<size_t>(num_choices), -1);
  for (const auto& rows : rows_of_expert) {
    for (const int64_t a : rows) {
      row_of_choice[static_cast<size_t>(a)] = static_cast<int64_t>(source.size());
      source.push_back(a);
    }
    num_rows.push_back(static_cast<int64_t>(rows.size()));
  }
  return {as_tensor(source, {-1}), as_tensor(row_of_choice, expert_idx_TK.sizes()),
          as_tensor(counts, {static_cast<int64_t>(counts.size()) / num_experts, num_experts}),
          as_tensor(num_rows, {-1})};
}

void expect_same_plan(const DispatchPlan& actual, const DispatchPlan& expected) {
  EXPECT_TRUE(all_equal(actual.source_R, expected.source_R));
  EXPECT_TRUE(all_equal(actual.row_of_choice_TK, expected.row_of_choice_TK));
  EXPECT_TRUE(all_equal(actual.counts_GE, expected.counts_GE));
  EXPECT_TRUE(all_equal(actual.num_rows_E, expected.num_rows_E));
}

enum class Skew { kUniform, kAllToOne, kHalfUnused };

at::Tensor make_choices(int64_t num_tokens, int64_t num_experts, int64_t top_k, Skew skew) {
  const auto scores_TE = random_tensor({num_tokens, num_experts}, 11);
  const auto preference_E = at::arange(num_experts, at::kDouble);
  const double strength = skew == Skew::kUniform ? 0 : 100;
  const auto biased_TE = skew == Skew::kHalfUnused
                             ? scores_TE.add(preference_E.ge(num_experts / 2), 100)
                             : scores_TE.sub(preference_E, strength);
  return std::get<1>(biased_TE.topk(top_k, -1)).contiguous();
}

// T, tokens a group, E, K, capacity factor (0: none), skew
using Case = std::tuple<int64_t, int64_t, int64_t, int64_t, double, Skew>;

class PlanDispatchTest : public testing::TestWithParam<Case> {};

TEST_P(PlanDispatchTest, IsThePlanOfTheDefinition) {
  const auto [num_tokens, tokens_per_group, num_experts, top_k, factor, skew] = GetParam();
  const auto expert_idx_TK = make_choices(num_tokens, num_experts, top_k, skew);
  // Few distinct values: many ties.
  const auto weights_TK = random_tensor({num_tokens, top_k}, 12, at::kFloat).mul(2).round();
  for (const auto policy : {DropPolicy::kPosition, DropPolicy::kProbability}) {
    CapacityOptions capacity{.factor = std::nullopt, .policy = policy};
    std::optional<int64_t> max_rows;
    if (factor > 0) {
      capacity.factor = factor;
      max_rows = expert_capacity(factor, tokens_per_group, top_k, num_experts);
    }
    const auto plan =
        plan_dispatch(expert_idx_TK, weights_TK, num_experts, tokens_per_group, capacity);
    expect_same_plan(plan, slow_plan(expert_idx_TK, weights_TK, num_experts, tokens_per_group,
                                     max_rows, policy));
    expect_same_plan(plan, reference::plan_dispatch(expert_idx_TK, weights_TK, num_experts,
                                                    tokens_per_group, max_rows, policy));
    if (num_tokens > 0 && factor == 0.001) {  // C = 1
      EXPECT_LE(plan.num_rows_E.max().item<int64_t>(), num_tokens / tokens_per_group);
      EXPECT_LT(plan.source_R.numel(), num_tokens * top_k);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Grid, PlanDispatchTest,
    testing::Values(Case{0, 4, 5, 2, 0, Skew::kUniform}, Case{0, 4, 5, 2, 1.0, Skew::kUniform},
                    Case{1, 1, 1, 1, 0, Skew::kUniform}, Case{1, 1, 1, 1, 1.0, Skew::kUniform},
                    Case{1, 1, 4, 4, 0.5, Skew::kUniform}, Case{24, 24, 5, 2, 0, Skew::kUniform},
                    Case{24, 8, 5, 2, 0, Skew::kAllToOne}, Case{24, 8, 5, 2, 1.0, Skew::kUniform},
                    Case{24, 8, 5, 2, 1.25, Skew::kAllToOne},
                    Case{24, 8, 5, 1, 0.001, Skew::kAllToOne},
                    Case{24, 24, 5, 2, 0.001, Skew::kUniform},
                    Case{24, 1, 5, 2, 1.0, Skew::kUniform}, Case{24, 6, 4, 4, 0.7, Skew::kUniform},
                    Case{24, 6, 4, 4, 4.0, Skew::kUniform}, Case{24, 6, 1, 1, 0.5, Skew::kUniform},
                    Case{40, 10, 8, 3, 1.1, Skew::kHalfUnused},
                    Case{60, 20, 16, 4, 0.8, Skew::kHalfUnused}));

TEST(PlanDispatch, KnownAnswer) {
  // Two groups of two tokens; expert 1 is chosen three times in the first. C = ceil(4 / 2) = 2.
  const auto expert_idx_TK = as_tensor({1, 0, 1, 1, 0, 1, 1, 0}, {4, 2});
  const auto weights_TK =
      at::tensor({0.5, 0.5, 0.6, 0.4, 0.9, 0.1, 0.9, 0.1}, at::kDouble).view({4, 2});
  const auto by_position = plan_dispatch(expert_idx_TK, weights_TK, 2, 2, {.factor = 1.0});
  EXPECT_TRUE(all_equal(by_position.counts_GE, as_tensor({1, 3, 2, 2}, {2, 2})));
  EXPECT_TRUE(all_equal(by_position.num_rows_E, as_tensor({3, 4}, {2})));
  EXPECT_TRUE(all_equal(by_position.source_R, as_tensor({1, 4, 7, 0, 2, 5, 6}, {7})));
  EXPECT_TRUE(
      all_equal(by_position.row_of_choice_TK, as_tensor({3, 0, 4, -1, 1, 5, 6, 2}, {4, 2})));
  const auto weights_reversed_TK =
      at::tensor({0.1, 0.5, 0.6, 0.4, 0.0, 0.0, 0.0, 0.0}, at::kFloat).view({4, 2});
  const auto by_probability = plan_dispatch(expert_idx_TK, weights_reversed_TK, 2, 2,
                                            {.factor = 1.0, .policy = DropPolicy::kProbability});
  EXPECT_TRUE(all_equal(by_probability.source_R, as_tensor({1, 4, 7, 2, 3, 5, 6}, {7})));
}

TEST(PlanDispatch, RepeatedExpertInOneToken) {
  const auto expert_idx_TK = as_tensor({2, 2, 0, 2, 1, 1}, {3, 2});
  const auto weights_TK = at::ones({3, 2});
  expect_same_plan(plan_dispatch(expert_idx_TK, weights_TK, 3, 3, {.factor = 1.0}),
                   slow_plan(expert_idx_TK, weights_TK, 3, 3, 2, DropPolicy::kPosition));
}

TEST(PlanDispatch, NoTokensInNoGroup) {
  const auto plan = plan_dispatch(at::empty({0, 2}, at::kLong), at::empty({0, 2}), 3, 0, {});
  EXPECT_TRUE(all_equal(plan.counts_GE, at::empty({0, 3}, at::kLong)));
  EXPECT_TRUE(all_equal(plan.num_rows_E, at::zeros({3}, at::kLong)));
  EXPECT_EQ(plan.source_R.numel(), 0);
}

TEST(PlanDispatch, WeightsThatAreNotNumbersDoNotCrash) {
  const auto expert_idx_TK = random_integers(3, {50, 2}, 13);
  auto weights_TK = random_tensor({50, 2}, 14);
  weights_TK.masked_fill_(weights_TK.gt(0.5), std::numeric_limits<double>::quiet_NaN());
  expect_same_plan(
      plan_dispatch(expert_idx_TK, weights_TK, 3, 25,
                    {.factor = 0.6, .policy = DropPolicy::kProbability}),
      reference::plan_dispatch(expert_idx_TK, weights_TK, 3, 25, expert_capacity(0.6, 25, 2, 3),
                               DropPolicy::kProbability));
}

TEST(PlanDispatch, NonContiguousInput) {
  const auto expert_idx_KT = random_integers(6, {3, 20}, 15);
  const auto weights_KT = random_tensor({3, 20}, 16, at::kBFloat16);
  const CapacityOptions capacity{.factor = 0.7, .policy = DropPolicy::kProbability};
  expect_same_plan(
      plan_dispatch(expert_idx_KT.t(), weights_KT.t(), 6, 10, capacity),
      plan_dispatch(expert_idx_KT.t().contiguous(), weights_KT.t().contiguous(), 6, 10, capacity));
}

TEST(PlanDispatch, SameForAnyNumberOfThreads) {
  const auto expert_idx_TK = random_integers(64, {2048, 8}, 17);
  const auto weights_TK = random_tensor({2048, 8}, 18, at::kFloat).set_requires_grad(true);
  const auto run = [&](int num_threads) {
    const tests::ThreadCount threads(num_threads);
    return plan_dispatch(expert_idx_TK, weights_TK, 64, 512,
                         {.factor = 0.9, .policy = DropPolicy::kProbability});
  };
  expect_same_plan(run(1), run(4));
}

TEST(PlanDispatch, RefusesWhatItCannotDo) {
  const auto expert_idx_TK = as_tensor({0, 1, 2, 0, 1, 2}, {3, 2});
  const auto weights_TK = at::ones({3, 2});
  EXPECT_THROW(plan_dispatch(expert_idx_TK, weights_TK, 3, 2, {}), c10::Error);  // 3 % 2
  EXPECT_THROW(plan_dispatch(expert_idx_TK, weights_TK, 3, 0, {}), c10::Error);
  EXPECT_THROW(plan_dispatch(expert_idx_TK, weights_TK, 2, 3, {}), c10::Error);  // id 2
  EXPECT_THROW(plan_dispatch(expert_idx_TK.neg(), weights_TK, 3, 3, {}), c10::Error);
  EXPECT_THROW(plan_dispatch(expert_idx_TK.to(at::kInt), weights_TK, 3, 3, {}), c10::Error);
  EXPECT_THROW(plan_dispatch(expert_idx_TK, at::ones({2, 2}), 3, 3,
                             {.factor = 1.0, .policy = DropPolicy::kProbability}),
               c10::Error);
  EXPECT_THROW(plan_dispatch(expert_idx_TK, weights_TK, 3, 3, {.factor = 0.0}), c10::Error);
  EXPECT_THROW(plan_dispatch(expert_idx_TK, weights_TK, 3, 3, {.factor = -1.0}), c10::Error);
}

TEST(ExpertCapacity, IsTheCeilingOfTheDecimalFactor) {
  // factor = hundredths / 100, in integers: no rounding anywhere in the expectation.
  for (int64_t hundredths = 1; hundredths <= 400; ++hundredths) {
    for (const int64_t num_tokens : {0, 1, 3, 10, 128, 1000, 4096, 1048576}) {
      for (const int64_t top_k : {1, 2, 7, 8}) {
        for (const int64_t num_experts : {1, 3, 8, 10, 60, 64, 256}) {
          const int64_t denominator = 100 * num_experts;
          const int64_t expected =
              (hundredths * num_tokens * top_k + denominator - 1) / denominator;
          ASSERT_EQ(expert_capacity(static_cast<double>(hundredths) / 100, num_tokens, top_k,
                                    num_experts),
                    expected)
              << hundredths << "/100, " << num_tokens << ", " << top_k << ", " << num_experts;
        }
      }
    }
  }
}

TEST(ExpertCapacity, EdgesAndRefusals) {
  EXPECT_EQ(expert_capacity(1.1, 10, 1, 1), 11);
  EXPECT_EQ(expert_capacity(1.1000001, 10, 1, 1), 12);
  EXPECT_EQ(expert_capacity(1e-20, 10, 1, 1), 1);
  EXPECT_THROW(expert_capacity(1e30, 10, 1, 1), c10::Error);
  EXPECT_THROW(expert_capacity(std::numeric_limits<double>::infinity(), 10, 1, 1), c10::Error);
  EXPECT_THROW(expert_capacity(std::numeric_limits<double>::quiet_NaN(), 10, 1, 1), c10::Error);
}

TEST(CountChoices, CountsEachGroupOfConsecutiveTokens) {
  const auto expert_idx_TK = as_tensor({0, 1, 0, 2, 3, 2, 0, 3}, {4, 2});
  EXPECT_TRUE(
      all_equal(count_choices(expert_idx_TK, 4, 2), as_tensor({2, 1, 1, 0, 1, 0, 1, 2}, {2, 4})));
  EXPECT_TRUE(all_equal(count_choices(expert_idx_TK, 4, 4), as_tensor({3, 1, 2, 2}, {1, 4})));
  EXPECT_TRUE(
      all_equal(count_choices(at::zeros({0, 2}, at::kLong), 4, 3), at::zeros({0, 4}, at::kLong)));
}

TEST(CountChoices, AreTheCountsOfThePlan) {
  const auto strided_TK = random_integers(70, {4, 600}, 17).t();
  const auto plan = plan_dispatch(strided_TK, {}, 70, 200, {});
  EXPECT_TRUE(all_equal(count_choices(strided_TK, 70, 200), plan.counts_GE));
}

TEST(CountChoices, RefusesForeignIdsOrDoesNotCountThem) {
  const auto expert_idx_TK = as_tensor({0, 1, -1, 4}, {2, 2});
  if (cuda_kernel_launches().has_value()) {
    EXPECT_TRUE(all_equal(count_choices(expert_idx_TK, 4, 2), as_tensor({1, 1, 0, 0}, {1, 4})));
  } else {
    EXPECT_THROW(count_choices(expert_idx_TK, 4, 2), c10::Error);
  }
}

TEST(CountChoices, RefusesWhatItCannotDo) {
  const auto expert_idx_TK = at::zeros({4, 2}, at::kLong);
  EXPECT_THROW(count_choices(expert_idx_TK, 4, 3), c10::Error);
  EXPECT_THROW(count_choices(expert_idx_TK, 4, 0), c10::Error);
  EXPECT_THROW(count_choices(expert_idx_TK, 0, 2), c10::Error);
  EXPECT_THROW(count_choices(expert_idx_TK.to(at::kInt), 4, 2), c10::Error);
  EXPECT_THROW(count_choices(expert_idx_TK.flatten(), 4, 2), c10::Error);
  EXPECT_THROW(count_choices(expert_idx_TK.narrow(1, 0, 0), 4, 2), c10::Error);
}

}  // namespace
}  // namespace moesaic::kernels
