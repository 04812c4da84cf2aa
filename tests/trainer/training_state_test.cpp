// What a step does beside the layout (layout_equivalence_test.cpp): sums, clipping, skipped steps.
#include "trainer/training_state.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <limits>

#include "tests/support/random_tensor.h"
#include "tests/support/spawn_ranks.h"
#include "tests/support/tensor_check.h"
#include "tests/support/training_mesh.h"

namespace moesaic::trainer {
namespace {

using tests::all_close;
using tests::all_equal;
using tests::make_mesh;

constexpr int64_t kSequences = 4;
constexpr int64_t kLength = 6;
constexpr double kLr = 1e-2;

TrainingOptions make_options() {
  TrainingOptions options;
  options.model.vocab_size = 19;
  options.model.hidden_size = 8;
  options.model.intermediate_size = 6;
  options.model.num_hidden_layers = 2;
  options.model.num_attention_heads = 2;
  options.model.num_experts = 4;
  options.model.num_experts_per_tok = 2;
  options.model.initializer_range = 0.5;
  options.moe.load_balance.coef = 0.1;
  options.moe.router_z_loss_coef = 0.01;
  options.optimizer.max_grad_norm.reset();
  options.dtype = at::kDouble;
  options.bucket_bytes = 1024;
  return options;
}

moe::StepShape make_shape(int64_t micro_batch_size) {
  return {.num_sequences = kSequences,
          .sequence_length = kLength,
          .micro_batch_sequences = micro_batch_size};
}

// The global batch with a different number of counted targets in each sequence, cut for a rank.
std::vector<moe::MicroBatch> make_micro_batches(int64_t micro_batch_size, int rank = 0,
                                                int num_ranks = 1) {
  const auto input_ids_BS = tests::random_integers(19, {kSequences, kLength}, 1);
  auto targets_BS = tests::random_integers(19, {kSequences, kLength}, 2);
  for (int64_t b = 0; b < kSequences; ++b) {
    targets_BS[b].narrow(0, 0, b + 1).fill_(moe::kIgnoredTarget);
  }
  std::vector<moe::MicroBatch> micro_batches;
  const int64_t share = kSequences / num_ranks;
  for (int64_t first = rank * share; first < (rank + 1) * share; first += micro_batch_size) {
    micro_batches.push_back(
        {.input_ids_BS = input_ids_BS.narrow(0, first, micro_batch_size).contiguous(),
         .targets_BS = targets_BS.narrow(0, first, micro_batch_size).contiguous(),
         .first_sequence = first});
  }
  return micro_batches;
}

enum class Buffer { kValues, kGradients, kExpAvg, kExpAvgSq };
std::vector<at::Tensor> copy_of(TrainingState& state, Buffer buffer) {
  std::vector<at::Tensor> copies;
  for (size_t g = 0; g < state.store().groups().size(); ++g) {
    const auto& group = state.store().groups()[g];
    copies.push_back((buffer == Buffer::kValues      ? group.values
                      : buffer == Buffer::kGradients ? group.gradients
                      : buffer == Buffer::kExpAvg    ? state.optimizer().exp_avg()[g]
                                                     : state.optimizer().exp_avg_sq()[g])
                         .clone());
  }
  return copies;
}

void expect_all_equal(const std::vector<at::Tensor>& actual,
                      const std::vector<at::Tensor>& expected, const std::string& what) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i) {
    EXPECT_TRUE(all_equal(actual[i], expected[i])) << what << ", group " << i;
  }
}

void expect_same_state(TrainingState& actual, TrainingState& expected) {
  for (const auto buffer : {Buffer::kValues, Buffer::kExpAvg, Buffer::kExpAvgSq}) {
    expect_all_equal(copy_of(actual, buffer), copy_of(expected, buffer), "state");
  }
  EXPECT_EQ(actual.optimizer().num_updates(), expected.optimizer().num_updates());
}

// ------------------------------------------------------------------------------ sums, not means
TEST(TrainingState, HowABatchIsCutIntoMicroBatchesChangesNothing) {
  const auto mesh = tests::make_single_mesh();
  TrainingState whole(mesh, make_options(), nullptr);
  const auto expected = whole.compute_gradients(make_micro_batches(4), make_shape(4));
  const auto gradients = copy_of(whole, Buffer::kGradients);
  ASSERT_EQ(expected.num_targets, 5 + 4 + 3 + 2);
  for (const int64_t micro_batch_size : {2, 1}) {
    TrainingState cut(mesh, make_options(), nullptr);
    const auto metrics =
        cut.compute_gradients(make_micro_batches(micro_batch_size), make_shape(micro_batch_size));
    EXPECT_NEAR(metrics.loss, expected.loss, 1e-12);
    EXPECT_NEAR(metrics.auxiliary.load_balance, expected.auxiliary.load_balance, 1e-12);
    EXPECT_NEAR(metrics.auxiliary.router_z, expected.auxiliary.router_z, 1e-12);
    EXPECT_NEAR(metrics.grad_norm, expected.grad_norm, 1e-11);
    EXPECT_EQ(metrics.num_targets, expected.num_targets);
    EXPECT_TRUE(all_equal(metrics.counts_LE, expected.counts_LE));
    const auto actual = copy_of(cut, Buffer::kGradients);
    for (size_t g = 0; g < gradients.size(); ++g) {
      EXPECT_TRUE(all_close(actual[g], gradients[g], 1e-10, 1e-12));
    }
  }
}

TEST(TrainingState, LossIsTheMeanOverTheCountedTargets) {
  const auto mesh = tests::make_single_mesh();
  TrainingState state(mesh, make_options(), nullptr);
  double loss_sum = 0.0;
  {
    const at::NoGradGuard no_grad;
    for (const auto& micro_batch : make_micro_batches(1)) {
      loss_sum += state.model().loss_sum(micro_batch, {}).item<double>();
    }
  }
  const auto metrics = state.compute_gradients(make_micro_batches(2), make_shape(2));
  EXPECT_NEAR(metrics.loss, loss_sum / 14.0, 1e-12);
}

TEST(TrainingState, AStepForgetsTheGradientsOfTheLast) {
  const auto mesh = tests::make_single_mesh();
  TrainingState state(mesh, make_options(), nullptr);
  const auto first = state.compute_gradients(make_micro_batches(2), make_shape(2));
  const auto gradients = copy_of(state, Buffer::kGradients);
  const auto second = state.compute_gradients(make_micro_batches(2), make_shape(2));
  expect_all_equal(copy_of(state, Buffer::kGradients), gradients, "gradients");
  EXPECT_EQ(second.auxiliary.load_balance, first.auxiliary.load_balance);
  EXPECT_TRUE(all_equal(second.counts_LE, first.counts_LE));
}

TEST(TrainingState, WithoutTargetsOnlyTheAuxiliaryTermsAreLeft) {
  const auto mesh = tests::make_single_mesh();
  auto options = make_options();
  const auto norm_of = [&] {
    TrainingState state(mesh, options, nullptr);
    auto micro_batches = make_micro_batches(2);
    for (auto& micro_batch : micro_batches) {
      micro_batch.targets_BS.fill_(moe::kIgnoredTarget);
    }
    const auto metrics = state.train_step(micro_batches, make_shape(2), kLr);
    EXPECT_EQ(metrics.loss, 0.0);
    EXPECT_EQ(metrics.num_targets, 0);
    EXPECT_FALSE(metrics.skipped);
    return metrics.grad_norm;
  };
  EXPECT_GT(norm_of(), 1e-6);
  options.moe.load_balance.coef = 0.0;
  options.moe.router_z_loss_coef.reset();
  EXPECT_EQ(norm_of(), 0.0);
}

// ------------------------------------------------------------------------------------- clipping
TEST(TrainingState, GradientsAreClippedToTheGlobalNorm) {
  const auto mesh = tests::make_single_mesh();
  auto options = make_options();
  TrainingState state(mesh, options, nullptr);
  const double norm = state.compute_gradients(make_micro_batches(2), make_shape(2)).grad_norm;
  const auto gradients = copy_of(state, Buffer::kGradients);
  double squares = 0.0;
  for (const auto& gradient : gradients) {
    squares += gradient.square().sum().item<double>();
  }
  EXPECT_NEAR(norm, std::sqrt(squares), 1e-12);

  struct Case {
    std::optional<double> limit;
    double factor;
  };
  for (const auto& [limit, factor] :
       {Case{std::nullopt, 1.0}, Case{2.0 * norm, 1.0}, Case{0.5 * norm, 0.5}}) {
    options.optimizer.max_grad_norm = limit;
    TrainingState clipped(mesh, options, nullptr);
    const auto metrics = clipped.train_step(make_micro_batches(2), make_shape(2), kLr);
    EXPECT_NEAR(metrics.grad_norm, norm, 1e-12);  // before clipping
    const auto exp_avg = copy_of(clipped, Buffer::kExpAvg);
    for (size_t g = 0; g < gradients.size(); ++g) {
      // After one update the first moment is (1 - beta1) times the gradient.
      EXPECT_TRUE(all_close(exp_avg[g], gradients[g].mul(factor * 0.1), 1e-5, 1e-12));
    }
  }
}

// -------------------------------------------------------------------------------- skipped steps
// Breaks one weight of an expert that rank 1 alone owns, then mends it.
class BrokenWeight {
 public:
  BrokenWeight(TrainingState& state, bool mine, double value) : mine_(mine) {
    const at::NoGradGuard no_grad;
    flat_ = state.store().entry("layers.0.mlp.experts.down_proj").spec.tensor->detach().flatten();
    before_ = flat_.clone();
    if (mine_) {
      flat_[3] = value;
    }
  }
  void mend() {
    const at::NoGradGuard no_grad;
    flat_.copy_(before_);
  }

 private:
  bool mine_;
  at::Tensor flat_;
  at::Tensor before_;
};

TEST(TrainingState, ANonFiniteStepIsSkippedByAllRanksAndLeavesNoTrace) {
  for (const double bad :
       {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    tests::spawn_ranks(2, [&](parallel::CommunicatorPtr world) {
      const auto mesh = make_mesh(world, /*expert=*/2);
      TrainingState state(mesh, make_options(), nullptr);
      TrainingState undisturbed(mesh, make_options(), nullptr);
      const auto micro_batches = make_micro_batches(1, world->rank(), 2);
      const auto shape = make_shape(1);
      EXPECT_FALSE(state.train_step(micro_batches, shape, kLr).skipped);
      undisturbed.train_step(micro_batches, shape, kLr);

      BrokenWeight weight(state, world->rank() == 1, bad);
      const auto values = copy_of(state, Buffer::kValues);
      const auto metrics = state.train_step(micro_batches, shape, kLr);
      EXPECT_TRUE(metrics.skipped) << "rank " << world->rank();
      EXPECT_FALSE(std::isfinite(metrics.loss));
      expect_all_equal(copy_of(state, Buffer::kValues), values, "weights");
      weight.mend();
      expect_same_state(state, undisturbed);

      // The next step is that of a run which never met the broken one.
      const auto after = state.train_step(micro_batches, shape, kLr);
      const auto expected = undisturbed.train_step(micro_batches, shape, kLr);
      EXPECT_FALSE(after.skipped);
      EXPECT_EQ(after.loss, expected.loss);
      EXPECT_EQ(after.grad_norm, expected.grad_norm);
      expect_same_state(state, undisturbed);
    });
  }
}

// The loss is finite, its gradient is not: 1e200 squared overflows in the norm alone.
TEST(TrainingState, ANonFiniteNormIsSkippedAsWell) {
  const auto mesh = tests::make_single_mesh();
  auto options = make_options();
  options.moe.load_balance.coef = 1e200;
  TrainingState state(mesh, options, nullptr);
  const auto values = copy_of(state, Buffer::kValues);
  const auto metrics = state.train_step(make_micro_batches(2), make_shape(2), kLr);
  EXPECT_TRUE(std::isfinite(metrics.loss));
  EXPECT_FALSE(std::isfinite(metrics.grad_norm));
  EXPECT_TRUE(metrics.skipped);
  expect_all_equal(copy_of(state, Buffer::kValues), values, "weights");
  EXPECT_EQ(state.optimizer().num_updates(), 0);
}

// ------------------------------------------------------------------------------------ the ranks
// agree
TEST(TrainingState, ASignalOfOneRankReachesAll) {
  tests::spawn_ranks(3, [](parallel::CommunicatorPtr world) {
    auto options = make_options();
    options.model.num_experts = 3;
    const auto mesh = make_mesh(world, /*expert=*/3);
    TrainingState state(mesh, options, nullptr);
    moe::StepShape shape = make_shape(1);
    shape.num_sequences = 3;
    auto micro_batches = make_micro_batches(1);
    const std::vector<moe::MicroBatch> mine = {micro_batches[world->rank()]};
    EXPECT_FALSE(state.train_step(mine, shape, kLr, /*stop_requested=*/false).stop_requested);
    EXPECT_TRUE(state.train_step(mine, shape, kLr, world->rank() == 1).stop_requested);
  });
}

}  // namespace
}  // namespace moesaic::trainer
