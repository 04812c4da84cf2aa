#include "trainer/checkpoint/checkpoint_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "tests/trainer/checkpoint/checkpoint_fixture.h"
#include "trainer/exit_code.h"

namespace moesaic::tests {
namespace {

using testing::ElementsAre;
using trainer::CheckpointPlan;
using trainer::TensorType;

std::vector<std::string> file_names(const CheckpointPlan& plan) {
  std::vector<std::string> names;
  for (const auto& file : plan.files())
    names.push_back(file.name);
  return names;
}

TEST(CheckpointPlan, DoesNotDependOnTheOrderOfTheTensors) {
  auto weights = test_weights();
  auto state = test_optimizer_state();
  const CheckpointPlan plan(weights, state, 500);
  std::reverse(weights.begin(), weights.end());
  std::rotate(state.begin(), state.begin() + 3, state.end());
  const CheckpointPlan other(weights, state, 500);
  ASSERT_EQ(file_names(plan), file_names(other));
  for (size_t idx = 0; idx < plan.files().size(); ++idx) {
    EXPECT_EQ(plan.files()[idx].header, other.files()[idx].header);
  }
  EXPECT_EQ(plan.weights_index(), other.weights_index());
}

TEST(CheckpointPlan, CutsFilesBySize) {
  const auto plan = test_plan(500);
  EXPECT_THAT(
      file_names(plan),
      ElementsAre("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
                  "optimizer-00001-of-00004.safetensors", "optimizer-00002-of-00004.safetensors",
                  "optimizer-00003-of-00004.safetensors", "optimizer-00004-of-00004.safetensors"));
  for (const auto& file : plan.files()) {
    int64_t position = static_cast<int64_t>(file.header.size());
    for (const auto& tensor : file.tensors) {
      EXPECT_EQ(tensor.begin, position);
      EXPECT_EQ(tensor.begin % (tensor_type_bits(tensor.type) / 8), 0) << tensor.name;
      position += tensor.num_bytes;
    }
    EXPECT_EQ(position, file.num_bytes);
    EXPECT_LE(file.num_bytes - static_cast<int64_t>(file.header.size()), 500);
  }
}

TEST(CheckpointPlan, ATensorLargerThanAFileGetsItsOwn) {
  const CheckpointPlan plan(
      {{"a", TensorType::kF32, {1}}, {"b", TensorType::kF32, {1000}}, {"c", TensorType::kF32, {1}}},
      {}, 100);
  EXPECT_EQ(plan.files().size(), 3u);
  EXPECT_EQ(plan.files()[1].tensors[0].name, "b");
}

TEST(CheckpointPlan, ASingleFileHasThePlainName) {
  EXPECT_THAT(file_names(test_plan(1 << 20)),
              ElementsAre("model.safetensors", "optimizer.safetensors"));
}

TEST(CheckpointPlan, FindsEveryTensor) {
  const auto plan = test_plan();
  for (const auto& tensor : all_test_tensors()) {
    const auto* place = plan.find(tensor.name);
    ASSERT_NE(place, nullptr) << tensor.name;
    EXPECT_EQ(plan.files()[place->file_idx].tensors[place->tensor_idx].name, tensor.name);
  }
  EXPECT_EQ(plan.find("absent"), nullptr);
}

TEST(CheckpointPlan, IndexListsTheWeightsAlone) {
  const auto index = nlohmann::json::parse(test_plan(500).weights_index());
  EXPECT_EQ(index["weight_map"].size(), test_weights().size());
  EXPECT_EQ(index["weight_map"]["lm_head.weight"], "model-00001-of-00002.safetensors");
  int64_t total_size = 0;
  for (const auto& tensor : test_weights()) {
    total_size += trainer::tensor_num_bytes(tensor.name, tensor.type, tensor.shape);
  }
  EXPECT_EQ(index["metadata"]["total_size"], total_size);
}

TEST(CheckpointPlan, RefusesTwoTensorsOfOneName) {
  EXPECT_THROW(CheckpointPlan({{"a", TensorType::kF32, {1}}}, {{"a", TensorType::kF32, {1}}}),
               trainer::ExitError);
}

}  // namespace
}  // namespace moesaic::tests
