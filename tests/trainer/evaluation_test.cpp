#include "trainer/evaluation.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Reduction.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include "moe/model/families/olmoe.h"
#include "tests/support/spawn_ranks.h"
#include "tests/support/training_mesh.h"
#include "tests/trainer/data/dataset_files.h"

namespace moesaic::trainer {
namespace {

constexpr int64_t kWindows = 5;
constexpr int64_t kLength = 4;
constexpr int64_t kMicroBatch = 2;  // the last one is half empty

std::unique_ptr<moe::LanguageModel> build(const parallel::DeviceMesh& mesh,
                                          std::optional<double> capacity_factor) {
  moe::ModelConfig config;
  config.vocab_size = kWindows * kLength + 1;
  config.hidden_size = 8;
  config.intermediate_size = 6;
  config.num_hidden_layers = 1;
  config.num_attention_heads = 2;
  config.num_experts = 4;
  config.num_experts_per_tok = 2;
  config.initializer_range = 0.5;
  moe::MoeOptions moe;
  moe.capacity.factor = capacity_factor;
  return moe::build_olmoe(
      config, {.mesh = mesh, .moe = moe, .dtype = at::kDouble, .seed = 3, .fault = nullptr});
}

class EvaluationTest : public testing::Test {
 protected:
  ValidationBatches batches(int64_t data_rank, int64_t data_size) const {
    return ValidationBatches(windows_, kMicroBatch, data_rank, data_size);
  }
  // Mean cross-entropy of windows [0, num_windows), one after the other.
  double expected_loss(int64_t num_windows) const {
    const at::NoGradGuard no_grad;
    const auto mesh = tests::make_single_mesh();
    const auto model = build(mesh, std::nullopt);
    double sum = 0.0;
    for (int64_t i = 0; i < num_windows; ++i) {
      const auto tokens = at::arange(i * kLength, (i + 1) * kLength + 1, at::kLong);
      const auto logits = model->logits(tokens.narrow(0, 0, kLength).unsqueeze(0), {})[0];
      sum += at::cross_entropy_loss(logits, tokens.narrow(0, 1, kLength), /*weight=*/{},
                                    at::Reduction::Sum)
                 .item<double>();
    }
    return sum / static_cast<double>(num_windows * kLength);
  }
  TemporaryFolder folder_;
  std::shared_ptr<const TokenWindows> windows_ = counting_windows(folder_, kWindows, kLength);
};

TEST_F(EvaluationTest, IsTheMeanOverEveryTargetOnAnyNumberOfRanks) {
  const double expected = expected_loss(kWindows);
  for (const int num_ranks : {1, 2, 3, 4}) {
    tests::spawn_ranks(num_ranks, [&](parallel::CommunicatorPtr world) {
      const int rank = world->rank();
      const auto mesh = tests::make_mesh(world, /*expert=*/num_ranks);
      const auto model = build(mesh, std::nullopt);
      const auto result = evaluate(*model, mesh, batches(rank, num_ranks));
      EXPECT_NEAR(result.loss, expected, 1e-12) << "rank " << rank << " of " << num_ranks;
      EXPECT_EQ(result.num_targets, kWindows * kLength);
    });
  }
}

TEST_F(EvaluationTest, DropsNothingWhateverTheCapacityOfTraining) {
  const auto mesh = tests::make_single_mesh();
  const auto model = build(mesh, /*capacity_factor=*/0.1);
  EXPECT_NEAR(evaluate(*model, mesh, batches(0, 1)).loss, expected_loss(kWindows), 1e-12);
}

TEST_F(EvaluationTest, MayBeCutToSomePasses) {
  const auto mesh = tests::make_single_mesh();
  const auto model = build(mesh, std::nullopt);
  const auto result = evaluate(*model, mesh, batches(0, 1), /*max_passes=*/1);
  EXPECT_EQ(result.num_targets, kMicroBatch * kLength);
  EXPECT_NEAR(result.loss, expected_loss(kMicroBatch), 1e-12);
  EXPECT_EQ(evaluate(*model, mesh, batches(0, 1), 99).num_targets, kWindows * kLength);
}

}  // namespace
}  // namespace moesaic::trainer
