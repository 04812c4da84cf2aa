// The layout does not change the maths: ranks as threads against one rank, in float64.
#include <ATen/Functions.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/spawn_ranks.h"
#include "tests/trainer/layout_run.h"

namespace moesaic::tests {
namespace {

using parallel::CommunicatorPtr;
using parallel::FaultInjection;
using Kind = FaultInjection::Kind;

class LayoutEquivalence : public ::testing::TestWithParam<LayoutCase> {};

TEST_P(LayoutEquivalence, EqualsOneRank) {
  for (const int world_size : {1, 2, 4}) {
    for (const auto& layout : layouts_of(GetParam(), world_size)) {
      reference_run(GetParam(), reference_micro_batch_size(GetParam(), layout));
      spawn_ranks(world_size, [&](const CommunicatorPtr& world) {
        expect_equal_to_one_rank(GetParam(), layout, world);
      });
    }
  }
}

// A case that drops nothing or routes evenly would prove less than its name says.
TEST_P(LayoutEquivalence, ReferenceIsWhatItsNameSays) {
  const auto& layout_case = GetParam();
  const int64_t size = layout_case.depends_on_micro_batch ? 2 : kNumSequences;
  for (const auto& step : reference_run(layout_case, size).steps) {
    const auto& metrics = step.metrics;
    if (layout_case.must_drop) {
      EXPECT_TRUE(metrics.dropped_L.gt(0).all().item<bool>());
    }
    if (layout_case.must_have_idle_expert) {
      EXPECT_TRUE(metrics.counts_LE.eq(0).any(1).all().item<bool>());
    }
    if (layout_case.skew == LayoutCase::Skew::kOnlyLastExpert) {
      EXPECT_TRUE(at::equal(metrics.counts_LE.select(1, -1), metrics.counts_LE.sum(1)));
    }
    EXPECT_FALSE(metrics.skipped);
    if (layout_case.targets != LayoutCase::Targets::kNone) {
      EXPECT_GT(metrics.grad_norm, *layout_case.options.optimizer.max_grad_norm);  // it clips
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, LayoutEquivalence, ::testing::ValuesIn(layout_cases()),
                         [](const auto& info) { return info.param.name; });

// ------------------------------------------------------------------ the comparison can fail

std::vector<std::string> differences_with_fault(Kind kind, const LayoutCase& layout_case,
                                                const Layout& layout) {
  const int last = layout.world_size() - 1;
  std::vector<std::vector<std::string>> lines(layout.world_size());
  const auto& reference =
      reference_run(layout_case, reference_micro_batch_size(layout_case, layout));
  int64_t hits = 0;
  spawn_ranks(layout.world_size(), [&](const CommunicatorPtr& world) {
    auto fault = std::make_shared<FaultInjection>();
    fault->kind = kind;
    fault->active = world->rank() == last;
    lines[world->rank()] = differences(run_layout(layout_case, layout, world, fault), reference);
    if (world->rank() == last) {
      hits = fault->hits;
    }
  });
  EXPECT_GT(hits, 0);
  std::vector<std::string> all;
  for (const auto& of_rank : lines) {
    all.insert(all.end(), of_rank.begin(), of_rank.end());
  }
  return all;
}

class LayoutFault : public ::testing::TestWithParam<std::pair<const char*, Kind>> {};

TEST_P(LayoutFault, IsSeen) {
  const auto kind = GetParam().second;
  EXPECT_FALSE(differences_with_fault(kind, layout_case("Dropless"), {2, 2, 1}).empty());
  EXPECT_FALSE(
      differences_with_fault(kind, layout_case("CapacityByProbability"), {2, 2, 2}).empty());
  EXPECT_FALSE(differences_with_fault(kind, layout_case("FormulaHf"), {2, 2, 2}).empty());
}

INSTANTIATE_TEST_SUITE_P(All, LayoutFault,
                         ::testing::Values(std::pair{"ScaleGradient", Kind::scale_gradient},
                                           std::pair{"DropRow", Kind::drop_row},
                                           std::pair{"SkipReduce", Kind::skip_reduce},
                                           std::pair{"StaleCount", Kind::stale_count},
                                           std::pair{"DoubleAux", Kind::double_aux},
                                           std::pair{"CorruptAllToAll", Kind::corrupt_all_to_all}),
                         [](const auto& info) { return std::string(info.param.first); });

TEST(LayoutComparison, SeesTheSmallestDifferenceThatIsNotEqual) {
  const auto& reference = reference_run(layout_case("CapacityByPosition"), kNumSequences);
  EXPECT_THAT(differences(reference, reference), ::testing::IsEmpty());
  const auto changed = [&](auto change) {
    LayoutRun run = reference_run(layout_case("CapacityByPosition"), kNumSequences);
    for (auto* pieces : {&run.gradients, &run.weights}) {
      for (auto& [name, piece] : *pieces) {
        piece.values = piece.values.clone();
      }
    }
    for (auto& step : run.steps) {
      for (auto& decision : step.decisions) {
        decision.is_dropped_TK = decision.is_dropped_TK.clone();
      }
    }
    change(run);
    return differences(run, reference);
  };
  const char* name = "model.layers.1.mlp.experts.3.up_proj.weight";
  EXPECT_THAT(changed([&](LayoutRun& run) {
                auto& gradient = run.gradients.at(name).values;
                gradient[5].add_(gradient.abs().max().mul(2e-10));
              }),
              ::testing::ElementsAre(::testing::HasSubstr(name)));
  EXPECT_THAT(changed([&](LayoutRun& run) {
                auto& gradient = run.gradients.at(name).values;
                gradient[5].add_(gradient.abs().max().mul(0.5e-10));
              }),
              ::testing::IsEmpty());
  EXPECT_THAT(changed([&](LayoutRun& run) { run.weights.at(name).values[0] = NAN; }),
              ::testing::ElementsAre(::testing::HasSubstr(name)));
  EXPECT_THAT(changed([](LayoutRun& run) { run.steps[4].metrics.grad_norm *= 1 + 3e-10; }),
              ::testing::ElementsAre(::testing::HasSubstr("step 4: norm")));
  EXPECT_THAT(
      changed([](LayoutRun& run) { run.steps[2].decisions[1].is_dropped_TK[3][1].logical_not_(); }),
      ::testing::ElementsAre(::testing::HasSubstr("dropped set")));
}

// ------------------------------------------------------------------ the same layout, the same bits

TEST(LayoutDeterminism, AllToAllInAGroupOfOneIsTheLocalDispatcher) {
  const auto& exchanging = reference_run(layout_case("AllToAllInGroupsOfOne"), kNumSequences);
  const auto& local = reference_run(layout_case("Dropless"), kNumSequences);
  EXPECT_THAT(different_bits(exchanging, local), ::testing::IsEmpty());
}

TEST(LayoutDeterminism, SameLayoutSameBits) {
  for (const Layout& layout : {Layout{1, 1, 4}, Layout{2, 2, 1}, Layout{1, 4, 2}}) {
    const auto run_all = [&] {
      std::vector<LayoutRun> runs(layout.world_size());
      spawn_ranks(layout.world_size(), [&](const CommunicatorPtr& world) {
        runs[world->rank()] = run_layout(layout_case("CapacityByProbability"), layout, world);
      });
      return runs;
    };
    const auto first = run_all();
    const auto second = run_all();
    for (size_t rank = 0; rank < first.size(); ++rank) {
      EXPECT_THAT(different_bits(second[rank], first[rank]), ::testing::IsEmpty())
          << layout.text() << ", rank " << rank;
    }
  }
}

}  // namespace
}  // namespace moesaic::tests
