// The dispatch plan through the CUDA kernels: integers, equal to kernels/reference bit for bit.
#include "kernels/cuda/plan_dispatch.h"

#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include <limits>
#include <optional>
#include <tuple>

#include "kernels/reference/plan_dispatch.h"
#include "tests/kernels/cuda/device_buffer.h"
#include "tests/kernels/cuda/element_type.h"
#include "tests/kernels/cuda/for_each_order.h"
#include "tests/kernels/cuda/grids.h"
#include "tests/support/random_tensor.h"
#include "tests/support/tensor_check.h"

MOESAIC_KERNEL_TEST(count_choices_kernel)
MOESAIC_KERNEL_TEST(scan_chunks_kernel)
MOESAIC_KERNEL_TEST(assign_rows_kernel)
MOESAIC_KERNEL_TEST(list_candidates_kernel)
MOESAIC_KERNEL_TEST(select_candidates_kernel)

namespace moesaic::kernels::cuda {
namespace {

using tests::all_equal;
using tests::for_each_order;
using tests::random_integers;
using tests::random_tensor;

constexpr int64_t kUnwritten = -77;

struct Request {
  at::Tensor expert_idx_TK;
  at::Tensor weights_TK;
  int64_t num_experts;
  int64_t tokens_per_group;
  std::optional<int64_t> capacity;
  DropPolicy policy = DropPolicy::kPosition;
};

PlanShape shape_of(const Request& request) {
  const int64_t num_tokens = request.expert_idx_TK.size(0);
  return {.num_groups = num_tokens == 0 ? 0 : num_tokens / request.tokens_per_group,
          .choices_per_group = request.tokens_per_group * request.expert_idx_TK.size(1),
          .num_experts = request.num_experts};
}

struct Planned {
  DispatchPlan plan;
  bool foreign_id;
};

// Device memory that shows where a kernel did not write.
template <class T = int64_t>
DeviceBuffer<T> unwritten(at::IntArrayRef sizes) {
  return DeviceBuffer<T>(at::full(sizes, kUnwritten, dtype_of<T>()));
}

void launch_plan(const Request& request, const PlanShape& shape, const PlanArrays& plan,
                 int64_t max_blocks) {
  const bool by_probability = request.capacity && request.policy == DropPolicy::kProbability;
  const DeviceBuffer<int64_t> expert_idx(request.expert_idx_TK);
  const auto ranks = unwritten<int32_t>({shape.num_chunks(), shape.num_experts});
  const auto first_row = unwritten({shape.num_groups, shape.num_experts});
  const auto candidates = unwritten({by_probability ? shape.num_choices() : 0});
  const auto priorities = unwritten({by_probability ? shape.num_choices() : 0});
  const PlanWorkspace workspace{.ranks_BE = ranks.data(),
                                .first_row_GE = first_row.data(),
                                .candidates = candidates.data(),
                                .priorities = reinterpret_cast<uint64_t*>(priorities.data())};
  if (!by_probability) {
    plan_dispatch_by_position(expert_idx.data(), shape, request.capacity, workspace, plan, nullptr,
                              max_blocks);
    return;
  }
  for_element_type(request.weights_TK.scalar_type(), [&](auto element) {
    const DeviceBuffer<decltype(element)> weights(request.weights_TK);
    plan_dispatch_by_probability(expert_idx.data(), weights.data(), shape, *request.capacity,
                                 workspace, plan, nullptr, max_blocks);
  });
}

Planned run(const Request& request, int64_t max_blocks = kMaxBlocks) {
  const auto shape = shape_of(request);
  const auto source = unwritten({shape.num_choices()});
  const auto row_of_choice = unwritten({shape.num_choices()});
  const auto counts = unwritten({shape.num_groups, shape.num_experts});
  const auto num_rows = unwritten({shape.num_experts});
  const DeviceBuffer<int32_t> foreign_id(at::zeros({1}, at::kInt));
  launch_plan(request, shape,
              {.source = source.data(),
               .row_of_choice = row_of_choice.data(),
               .counts_GE = counts.data(),
               .num_rows_E = num_rows.data(),
               .foreign_id = foreign_id.data()},
              max_blocks);
  const auto source_N = source.to_tensor({shape.num_choices()});
  const auto num_rows_E = num_rows.to_tensor({shape.num_experts});
  const auto total = num_rows_E.sum().item<int64_t>();
  EXPECT_TRUE(source_N.slice(0, total).eq(kUnwritten).all().item<bool>());
  return {{source_N.slice(0, 0, total).contiguous(),
           row_of_choice.to_tensor(request.expert_idx_TK.sizes()),
           counts.to_tensor({shape.num_groups, shape.num_experts}), num_rows_E},
          foreign_id.to_tensor({1}).item<int32_t>() != 0};
}

void expect_same_plan(const DispatchPlan& actual, const DispatchPlan& expected) {
  EXPECT_TRUE(all_equal(actual.source_R, expected.source_R));
  EXPECT_TRUE(all_equal(actual.row_of_choice_TK, expected.row_of_choice_TK));
  EXPECT_TRUE(all_equal(actual.counts_GE, expected.counts_GE));
  EXPECT_TRUE(all_equal(actual.num_rows_E, expected.num_rows_E));
}

void expect_reference_plan(const Request& request) {
  const auto expected = reference::plan_dispatch(
      request.expert_idx_TK, request.weights_TK, request.num_experts,
      std::max<int64_t>(request.tokens_per_group, 1), request.capacity, request.policy);
  for_each_order([&] {
    for (const int64_t max_blocks : grids()) {
      const auto planned = run(request, max_blocks);
      expect_same_plan(planned.plan, expected);
      EXPECT_FALSE(planned.foreign_id);
    }
  });
}

enum class Skew { kUniform, kAllToOne, kHalfUnused, kRepeated };

at::Tensor make_choices(int64_t num_tokens, int64_t num_experts, int64_t top_k, Skew skew) {
  if (skew == Skew::kRepeated) {  // an expert several times a token
    return random_integers(num_experts, {num_tokens, top_k}, 10);
  }
  const auto scores_TE = random_tensor({num_tokens, num_experts}, 11);
  const auto preference_E = at::arange(num_experts, at::kDouble);
  const double strength = skew == Skew::kUniform ? 0 : 100;
  const auto biased_TE = skew == Skew::kHalfUnused
                             ? scores_TE.add(preference_E.ge(num_experts / 2), 100)
                             : scores_TE.sub(preference_E, strength);
  return std::get<1>(biased_TE.topk(top_k, -1)).contiguous();
}

// T, tokens a group, E, K, capacity (-1: none), skew
using Case = std::tuple<int64_t, int64_t, int64_t, int64_t, int64_t, Skew>;

class CudaPlanDispatchTest : public testing::TestWithParam<Case> {};

TEST_P(CudaPlanDispatchTest, IsThePlanOfTheReference) {
  const auto [num_tokens, tokens_per_group, num_experts, top_k, capacity, skew] = GetParam();
  // Every other one rounded to few distinct values: many ties.
  const auto weights_TK = random_tensor({num_tokens, top_k}, 12, at::kFloat).mul(2);
  const auto is_odd_TK =
      at::arange(num_tokens * top_k).remainder(2).eq(1).view({num_tokens, top_k});
  Request request{.expert_idx_TK = make_choices(num_tokens, num_experts, top_k, skew),
                  .weights_TK = at::where(is_odd_TK, weights_TK, weights_TK.round()),
                  .num_experts = num_experts,
                  .tokens_per_group = tokens_per_group,
                  .capacity = capacity < 0 ? std::nullopt : std::make_optional(capacity)};
  expect_reference_plan(request);
  request.policy = DropPolicy::kProbability;
  expect_reference_plan(request);
}

INSTANTIATE_TEST_SUITE_P(
    Grid, CudaPlanDispatchTest,
    testing::Values(Case{0, 4, 5, 2, -1, Skew::kUniform}, Case{0, 4, 5, 2, 1, Skew::kUniform},
                    Case{0, 0, 5, 2, 1, Skew::kUniform}, Case{1, 1, 1, 1, -1, Skew::kUniform},
                    Case{1, 1, 1, 1, 1, Skew::kUniform}, Case{1, 1, 4, 4, 1, Skew::kUniform},
                    Case{24, 24, 5, 2, -1, Skew::kUniform}, Case{24, 8, 5, 2, -1, Skew::kAllToOne},
                    Case{24, 8, 5, 2, 4, Skew::kUniform}, Case{24, 8, 5, 2, 4, Skew::kAllToOne},
                    Case{24, 8, 5, 1, 1, Skew::kAllToOne}, Case{24, 8, 5, 2, 0, Skew::kUniform},
                    Case{24, 8, 5, 2, 8, Skew::kAllToOne}, Case{24, 24, 5, 2, 1, Skew::kUniform},
                    Case{24, 6, 4, 4, 5, Skew::kUniform}, Case{24, 6, 4, 4, 6, Skew::kUniform},
                    Case{24, 6, 1, 1, 3, Skew::kUniform}, Case{40, 10, 8, 3, 4, Skew::kHalfUnused},
                    Case{40, 20, 33, 4, 3, Skew::kHalfUnused},
                    Case{40, 20, 16, 4, 2, Skew::kRepeated}));

// More groups than segments of the scan, and groups of several chunks.
INSTANTIATE_TEST_SUITE_P(Partition, CudaPlanDispatchTest,
                         testing::Values(Case{40, 1, 9, 3, 1, Skew::kUniform},
                                         Case{68, 2, 5, 5, 1, Skew::kRepeated},
                                         Case{1024, 1024, 7, 1, 100, Skew::kUniform},
                                         Case{1024, 512, 5, 2, 100, Skew::kUniform},
                                         Case{1026, 513, 40, 4, 40, Skew::kUniform},
                                         Case{1026, 513, 5, 4, 300, Skew::kRepeated},
                                         Case{1026, 1026, 3, 2, 700, Skew::kAllToOne},
                                         Case{2046, 1023, 3, 1, 300, Skew::kUniform},
                                         Case{20, 20, 511, 4, 1, Skew::kRepeated},
                                         Case{40, 20, 600, 4, 1, Skew::kRepeated},
                                         Case{300, 300, 1100, 5, -1, Skew::kRepeated}));

// One group of 38 chunks: more than segments of the scan, so that a group spans several.
TEST(CudaPlanDispatch, LongGroup) {
  expect_reference_plan({.expert_idx_TK = random_integers(33, {4800, 8}, 14),
                         .weights_TK = at::zeros({4800, 8}),
                         .num_experts = 33,
                         .tokens_per_group = 4800,
                         .capacity = 1000});
}

// 28 groups of three chunks: segments of the scan that begin and end inside of groups.
TEST(CudaPlanDispatch, ManyGroupsOfSeveralChunks) {
  expect_reference_plan({.expert_idx_TK = random_integers(3, {11480, 5}, 23),
                         .weights_TK = at::zeros({11480, 5}),
                         .num_experts = 3,
                         .tokens_per_group = 410,
                         .capacity = 300});
}

// Five tiles of experts: together they would not fit into the shared memory of a block.
TEST(CudaPlanDispatch, ManyExperts) {
  const Request request{.expert_idx_TK = at::tensor({2199, 0, 511, 512}, at::kLong).view({2, 2}),
                        .weights_TK = at::zeros({2, 2}),
                        .num_experts = 2200,
                        .tokens_per_group = 2,
                        .capacity = 1,
                        .policy = DropPolicy::kProbability};
  expect_same_plan(
      run(request).plan,
      reference::plan_dispatch(request.expert_idx_TK, request.weights_TK, request.num_experts,
                               request.tokens_per_group, request.capacity, request.policy));
}

TEST(CudaPlanDispatch, PrioritiesOfEveryTypeAndKind) {
  auto weights_TK = random_tensor({48, 2}, 16, at::kFloat);
  const auto flat = weights_TK.view(-1);
  flat.slice(0, 0, 96, 7).fill_(std::numeric_limits<float>::quiet_NaN());
  flat.slice(0, 1, 96, 9).fill_(-std::numeric_limits<float>::quiet_NaN());
  flat.slice(0, 2, 96, 7).fill_(0.0f);
  flat.slice(0, 3, 96, 7).fill_(-0.0f);
  flat.slice(0, 4, 96, 11).fill_(std::numeric_limits<float>::infinity());
  flat.slice(0, 5, 96, 11).fill_(-std::numeric_limits<float>::infinity());
  for (const auto dtype : {at::kFloat, at::kDouble, at::kBFloat16, at::kHalf}) {
    for (const int64_t capacity : {1, 5, 9, 20}) {
      expect_reference_plan({.expert_idx_TK = random_integers(3, {48, 2}, 17),
                             .weights_TK = weights_TK.to(dtype),
                             .num_experts = 3,
                             .tokens_per_group = 48,
                             .capacity = capacity,
                             .policy = DropPolicy::kProbability});
    }
  }
}

// Doubles that are one float, and floats that differ in their last bit; lists that are compared
// all with all, and lists that are selected from by radix.
TEST(CudaPlanDispatch, PrioritiesDifferInTheirLastBit) {
  for (const int64_t num_tokens : {32, 300}) {
    const auto order = random_tensor({num_tokens * 2}, 22).argsort();
    for (const auto dtype : {at::kFloat, at::kDouble}) {
      const double epsilon = dtype == at::kFloat ? 0x1p-23 : 0x1p-52;
      expect_reference_plan(
          {.expert_idx_TK = random_integers(2, {num_tokens, 2}, 18),
           .weights_TK = order.to(at::kDouble).mul(epsilon).add(1).to(dtype).view({-1, 2}),
           .num_experts = 2,
           .tokens_per_group = num_tokens,
           .capacity = num_tokens / 4,
           .policy = DropPolicy::kProbability});
    }
  }
}

// The last ones stay, in lists around the sizes in which they are looked at.
TEST(CudaPlanDispatch, LaterPrioritiesAreLarger) {
  for (const int64_t num_tokens : {255, 256, 257, 1023, 1024, 1025}) {
    expect_reference_plan({.expert_idx_TK = at::zeros({num_tokens, 1}, at::kLong),
                           .weights_TK = at::arange(num_tokens, at::kFloat).view({-1, 1}),
                           .num_experts = 1,
                           .tokens_per_group = num_tokens,
                           .capacity = num_tokens / 3,
                           .policy = DropPolicy::kProbability});
  }
}

TEST(CudaPlanDispatch, NothingStaysWithoutCapacity) {
  for (const int64_t num_tokens : {20, 300}) {
    for (const float weight :
         {0.5f, std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
      expect_reference_plan({.expert_idx_TK = random_integers(2, {num_tokens, 2}, 24),
                             .weights_TK = at::full({num_tokens, 2}, weight, at::kFloat),
                             .num_experts = 2,
                             .tokens_per_group = num_tokens,
                             .capacity = 0,
                             .policy = DropPolicy::kProbability});
    }
  }
}

// The reference throws; here the flag is raised, and the choice is as if it did not exist.
TEST(CudaPlanDispatch, ForeignIdsRaiseTheFlagAndAreDropped) {
  for (const int64_t num_experts : {5, 600}) {
    auto expert_idx_TK = random_integers(num_experts, {20, 2}, 19);
    expert_idx_TK[3][1] = -1;
    expert_idx_TK[11][0] = num_experts;
    expert_idx_TK[17] = int64_t{1} << 40;
    expert_idx_TK[19][1] = -1;  // the last of all
    for (const auto policy : {DropPolicy::kPosition, DropPolicy::kProbability}) {
      const Request request{.expert_idx_TK = expert_idx_TK,
                            .weights_TK = random_tensor({20, 2}, 20, at::kFloat),
                            .num_experts = num_experts,
                            .tokens_per_group = 20,
                            .capacity = 3,
                            .policy = policy};
      // The same choices with one more expert that gets them, which is then taken away.
      const auto is_foreign = expert_idx_TK.lt(0).logical_or(expert_idx_TK.ge(num_experts));
      const auto expected =
          reference::plan_dispatch(at::where(is_foreign, num_experts, expert_idx_TK),
                                   request.weights_TK, num_experts + 1, 20, 3, policy);
      const auto num_rows = expected.num_rows_E.slice(0, 0, num_experts).sum().item<int64_t>();
      for_each_order([&] {
        const auto planned = run(request);
        EXPECT_TRUE(planned.foreign_id);
        expect_same_plan(planned.plan, {expected.source_R.slice(0, 0, num_rows).contiguous(),
                                        at::where(is_foreign, -1, expected.row_of_choice_TK),
                                        expected.counts_GE.slice(1, 0, num_experts).contiguous(),
                                        expected.num_rows_E.slice(0, 0, num_experts).contiguous()});
      });
    }
  }
}

// One foreign id of each kind is enough.
TEST(CudaPlanDispatch, EachForeignIdRaisesTheFlag) {
  for (const int64_t foreign : {int64_t{-1}, int64_t{4}, int64_t{1} << 32, int64_t{-1} << 32}) {
    const auto expert_idx_TK = at::tensor({0, 3, 2, 1}, at::kLong).view({2, 2});
    expert_idx_TK[1][1] = foreign;
    const Request request{.expert_idx_TK = expert_idx_TK,
                          .weights_TK = at::Tensor(),
                          .num_experts = 4,
                          .tokens_per_group = 2,
                          .capacity = std::nullopt};
    EXPECT_TRUE(run(request).foreign_id);
  }
}

TEST(CudaPlanDispatch, CountsOfGroups) {
  const auto expert_idx_TK = random_integers(9, {60, 4}, 21);
  const PlanShape shape{.num_groups = 12, .choices_per_group = 20, .num_experts = 9};
  const auto expected_GE = at::one_hot(expert_idx_TK.view({12, 20}), 9).sum(1);
  for_each_order([&] {
    const DeviceBuffer<int64_t> expert_idx(expert_idx_TK);
    const auto ranks = unwritten<int32_t>({shape.num_chunks(), 9});
    const auto counts = unwritten({12, 9});
    const DeviceBuffer<int32_t> foreign_id(at::zeros({1}, at::kInt));
    count_choices(expert_idx.data(), shape, ranks.data(), counts.data(), foreign_id.data(),
                  nullptr);
    EXPECT_TRUE(all_equal(counts.to_tensor({12, 9}), expected_GE));
    EXPECT_EQ(foreign_id.to_tensor({1}).item<int32_t>(), 0);
  });
}

TEST(CudaPlanDispatch, RefusesImpossibleSizes) {
  for (const auto& shape :
       {PlanShape{.num_groups = -1, .choices_per_group = 1, .num_experts = 4},
        PlanShape{.num_groups = 1, .choices_per_group = 0, .num_experts = 4},
        PlanShape{.num_groups = 1, .choices_per_group = int64_t{1} << 31, .num_experts = 4},
        PlanShape{.num_groups = 1, .choices_per_group = 1, .num_experts = 0}}) {
    EXPECT_THROW(plan_dispatch_by_position(nullptr, shape, std::nullopt, {}, {}, nullptr),
                 std::invalid_argument);
    EXPECT_THROW(plan_dispatch_by_probability<float>(nullptr, nullptr, shape, 1, {}, {}, nullptr),
                 std::invalid_argument);
  }
  const auto num_rows = unwritten({4});
  PlanArrays plan{};
  plan.num_rows_E = num_rows.data();
  const PlanShape largest{
      .num_groups = 0, .choices_per_group = std::numeric_limits<int32_t>::max(), .num_experts = 4};
  EXPECT_NO_THROW(plan_dispatch_by_position(nullptr, largest, std::nullopt, {}, plan, nullptr));
}

}  // namespace
}  // namespace moesaic::kernels::cuda
