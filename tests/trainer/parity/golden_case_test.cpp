#include "trainer/parity/golden_case.h"

#include <ATen/Functions.h>
#include <gtest/gtest.h>

#include <fstream>

#include "tests/support/tensor_check.h"
#include "tests/trainer/data/dataset_files.h"
#include "trainer/checkpoint/safetensors.h"

namespace moesaic::trainer {
namespace {

std::filesystem::path golden_folder(const char* name) {
  return std::filesystem::path(MOESAIC_GOLDEN_DIR) / name;
}

// In the header of a safetensors file: both texts are of the same length.
void replace_text(const std::filesystem::path& path, const std::string& text,
                  const std::string& other) {
  std::ifstream in(path, std::ios::binary);
  std::string bytes((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  bytes.replace(bytes.find(text), text.size(), other);
  std::ofstream(path, std::ios::binary) << bytes;
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

TEST(GoldenCase, WithoutAnAuxiliaryValueThereIsNoAuxiliaryTerm) {
  const TemporaryFolder folder;
  std::filesystem::copy(golden_folder("olmoe"), folder.path("case"));
  const auto path = std::filesystem::path(folder.path("case")) / "reference.safetensors";
  replace_text(path, "\"aux_loss\"", "\"xua_loss\"");
  const auto golden = read_golden_case(folder.path("case"));
  EXPECT_EQ(golden.moe.load_balance.coef, 0.0);
  EXPECT_EQ(golden.moe.load_balance.scope, moe::BalanceScope::kSequence);
}

TEST(GoldenCase, WhatIsMissingIsNamed) {
  expect_exit_error([] { read_golden_case("/no/such/folder"); }, ExitCode::kNoInput,
                    "/no/such/folder is not a folder");
  const TemporaryFolder folder;
  for (const char* file : {"config.json", "model.safetensors"}) {
    std::filesystem::copy_file(golden_folder("olmoe") / file, folder.path(file));
  }
  expect_exit_error([&] { read_golden_case(folder.path("")); }, ExitCode::kBadFile,
                    "reference.safetensors: needs input_ids");
}

// Writes the file again with one tensor more, or another in its place.
void replace_tensor(const std::filesystem::path& path, const std::string& name,
                    const at::Tensor& replacement) {
  std::map<std::string, at::Tensor> tensors;
  {
    const SafetensorsFile file(path);
    for (const auto& stored : file.tensors()) {
      auto tensor = at::empty(stored.shape, *to_scalar_type(stored.type));
      file.read(stored, 0, tensor.mutable_data_ptr(), stored.num_bytes);
      tensors[stored.name] = tensor;
    }
  }
  tensors[name] = replacement.contiguous();
  std::vector<SafetensorsTensor> entries;
  std::string bytes;
  for (const auto& [tensor_name, tensor] : tensors) {
    entries.push_back({.name = tensor_name,
                       .type = to_tensor_type(tensor.scalar_type()),
                       .shape = tensor.sizes().vec(),
                       .begin = 0,
                       .num_bytes = 0});
    bytes.append(static_cast<const char*>(tensor.const_data_ptr()), tensor.nbytes());
  }
  std::ofstream(path, std::ios::binary) << build_safetensors_header(entries) << bytes;
}

// A copy of the case `olmoe` with one tensor of one file replaced.
class ChangedGoldenCase : public testing::Test {
 protected:
  void expect_refused(const std::string& file, const std::string& name, const at::Tensor& tensor,
                      const std::string& message) {
    const TemporaryFolder folder;
    std::filesystem::copy(golden_folder("olmoe"), folder.path(""),
                          std::filesystem::copy_options::recursive |
                              std::filesystem::copy_options::overwrite_existing);
    replace_tensor(folder.path(file), name, tensor);
    expect_exit_error([&] { read_golden_case(folder.path("")); }, ExitCode::kBadFile, message);
  }
};

TEST_F(ChangedGoldenCase, WhatDoesNotFitTheConfigIsRefusedWithItsFile) {
  const auto golden = read_golden_case(golden_folder("olmoe"));
  const auto with_first = [](const at::Tensor& tensor, int64_t value) {
    auto changed = tensor.clone();
    changed.view({-1})[0] = value;
    return changed;
  };
  const auto input_ids = golden.find("input_ids");
  const std::string reference = "reference.safetensors";
  expect_refused(reference, "input_ids", with_first(input_ids, golden.model.vocab_size),
                 "reference.safetensors: input_ids must be in [0, 128), holds 128");
  expect_refused(reference, "labels", with_first(golden.find("labels"), -7),
                 "labels must be in [0, 128), holds -7");
  expect_refused(reference, "labels", golden.find("labels").narrow(1, 0, 12).contiguous(),
                 "labels must have the shape [4, 24], has [4, 12]");
  expect_refused(reference, "logits", golden.find("logits").narrow(0, 0, 2).contiguous(),
                 "logits must have the shape [4, 24, 128], has [2, 24, 128]");
  const std::string norm = "model.norm.weight";
  expect_refused("gradients.safetensors", norm,
                 golden.gradients.at(norm).narrow(0, 0, 2).contiguous(),
                 "gradients.safetensors: model.norm.weight must have the shape");
  expect_refused("final.safetensors", "model.norm.wait", golden.final_weights.at(norm),
                 "final.safetensors: model.norm.wait is no tensor of the model");
}

TEST(ShiftedTargets, EachPositionPredictsTheNextLabel) {
  const auto labels_BS = at::tensor(std::vector<int64_t>{1, 2, -100, 4, 5, 6}, at::kLong);
  EXPECT_TRUE(tests::all_equal(
      shifted_targets(labels_BS.view({2, 3})),
      at::tensor(std::vector<int64_t>{2, -100, -100, 5, 6, -100}, at::kLong).view({2, 3})));
}

}  // namespace
}  // namespace moesaic::trainer
