#include "trainer/parity/golden_case.h"

#include <ATen/Functions.h>
#include <gtest/gtest.h>

#include "tests/support/tensor_check.h"
#include "tests/trainer/data/dataset_files.h"

namespace moesaic::trainer {
namespace {

std::filesystem::path golden_folder(const char* name) {
  return std::filesystem::path(MOESAIC_GOLDEN_DIR) / name;
}

TEST(GoldenCase, HoldsItsFiles) {
  const auto golden = read_golden_case(golden_folder("olmoe"));
  EXPECT_EQ(golden.find("input_ids").sizes(), golden.find("labels").sizes());
  EXPECT_FALSE(golden.find("no such entry").defined());
  EXPECT_TRUE(golden.weights.contains("model.embed_tokens.weight"));
  EXPECT_EQ(golden.gradients.size(), golden.weights.size());
  EXPECT_EQ(golden.final_weights.size(), golden.weights.size());
}

TEST(GoldenCase, WithoutAMoeSectionItIsTransformersOwnLoss) {
  const auto golden = read_golden_case(golden_folder("olmoe"));
  EXPECT_EQ(golden.moe.load_balance.formula, moe::BalanceFormula::kHuggingFace);
  EXPECT_EQ(golden.moe.load_balance.scope, moe::BalanceScope::kGlobal);
  ASSERT_TRUE(golden.find("aux_loss").defined());
  EXPECT_EQ(golden.moe.load_balance.coef, golden.model.router_aux_loss_coef);
  EXPECT_FALSE(golden.moe.router_z_loss_coef.has_value());
  EXPECT_FALSE(golden.moe.capacity.factor.has_value());
}

TEST(GoldenCase, AMoeSectionIsTaken) {
  const auto position = read_golden_case(golden_folder("olmoe_capacity_position"));
  EXPECT_EQ(position.moe.capacity.policy, moe::DropPolicy::kPosition);
  EXPECT_TRUE(position.moe.capacity.factor.has_value());
  const auto probability = read_golden_case(golden_folder("olmoe_capacity_probability"));
  EXPECT_EQ(probability.moe.capacity.policy, moe::DropPolicy::kProbability);
  EXPECT_EQ(read_golden_case(golden_folder("olmoe_switch")).moe.load_balance.formula,
            moe::BalanceFormula::kSwitch);
}

TEST(GoldenCase, WhatIsMissingIsNamed) {
  expect_exit_error([] { read_golden_case("/no/such/folder"); }, ExitCode::kNoInput,
                    "/no/such/folder is not a folder");
  const TemporaryFolder folder;
  for (const char* file : {"config.json", "model.safetensors"}) {
    std::filesystem::copy_file(golden_folder("olmoe") / file, folder.path(file));
  }
  expect_exit_error([&] { read_golden_case(folder.path("")); }, ExitCode::kBadFile,
                    "reference.safetensors needs input_ids");
}

TEST(ShiftedTargets, EachPositionPredictsTheNextLabel) {
  const auto labels_BS = at::tensor(std::vector<int64_t>{1, 2, -100, 4, 5, 6}, at::kLong);
  EXPECT_TRUE(tests::all_equal(
      shifted_targets(labels_BS.view({2, 3})),
      at::tensor(std::vector<int64_t>{2, -100, -100, 5, 6, -100}, at::kLong).view({2, 3})));
}

}  // namespace
}  // namespace moesaic::trainer
