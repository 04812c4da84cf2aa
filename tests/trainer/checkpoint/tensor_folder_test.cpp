#include "trainer/checkpoint/tensor_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/trainer/checkpoint/checkpoint_fixture.h"
#include "trainer/exit_code.h"

namespace moesaic::tests {
namespace {

using testing::HasSubstr;
using trainer::ExitCode;
using trainer::ExitError;
using trainer::SafetensorsTensor;
using trainer::TensorFolder;
using trainer::TensorType;

class TensorFolderTest : public CheckpointFixture {
 protected:
  // A file of U8 tensors, each holding its own name.
  void write_file(const std::string& file, const std::vector<std::string>& names) {
    std::vector<SafetensorsTensor> tensors;
    std::string data;
    for (const auto& name : names) {
      tensors.push_back({name, TensorType::kU8, {static_cast<int64_t>(name.size())}, 0, 0});
      data += name;
    }
    write_bytes(root() / file, build_safetensors_header(tensors) + data);
  }

  void write_index(const std::string& weight_map) {
    write_bytes(root() / "model.safetensors.index.json",
                R"({"metadata":{"total_size":1},"weight_map":)" + weight_map + "}");
  }

  std::string problem_of(ExitCode code) {
    try {
      TensorFolder::open_weights(root());
    } catch (const ExitError& error) {
      EXPECT_EQ(error.code(), code) << error.what();
      return error.what();
    }
    return {};
  }
};

TEST_F(TensorFolderTest, ReadsTheShardsThatTheIndexLists) {
  write_file("model-00001-of-00002.safetensors", {"first", "second"});
  write_file("model-00002-of-00002.safetensors", {"third"});
  write_file("optimizer.safetensors", {"exp_avg.first"});
  write_index(R"({"first":"model-00001-of-00002.safetensors",
                  "second":"model-00001-of-00002.safetensors",
                  "third":"model-00002-of-00002.safetensors"})");
  const auto tensors = TensorFolder::open_weights(root());
  EXPECT_EQ(tensors.places().size(), 3u);
  for (const std::string name : {"first", "second", "third"}) {
    ASSERT_NE(tensors.find(name), nullptr);
    std::string data(name.size(), '\0');
    tensors.read(name, 0, data.data(), static_cast<int64_t>(name.size()));
    EXPECT_EQ(data, name);
  }
  EXPECT_EQ(tensors.find("exp_avg.first"), nullptr);
  char byte = 0;
  EXPECT_THROW(tensors.read("fourth", 0, &byte, 1), ExitError);
  EXPECT_THROW(tensors.read("third", 5, &byte, 1), ExitError);
}

TEST_F(TensorFolderTest, HashDoesNotDependOnTheFiles) {
  write_file("model.safetensors", {"first", "second", "third"});
  const auto whole = TensorFolder::open_weights(root()).hash();
  EXPECT_EQ(TensorFolder::open_file(root() / "model.safetensors").hash(), whole);
  std::filesystem::remove(root() / "model.safetensors");
  write_file("b.safetensors", {"third", "first"});
  write_file("a.safetensors", {"second"});
  write_index(R"({"first":"b.safetensors","second":"a.safetensors","third":"b.safetensors"})");
  EXPECT_EQ(TensorFolder::open_weights(root()).hash(), whole);
  write_file("a.safetensors", {"Second"});
  write_index(R"({"first":"b.safetensors","Second":"a.safetensors","third":"b.safetensors"})");
  EXPECT_NE(TensorFolder::open_weights(root()).hash(), whole);
}

TEST_F(TensorFolderTest, RefusesAnIndexThatDisagreesWithItsFiles) {
  write_file("a.safetensors", {"first", "second"});
  write_file("b.safetensors", {"third"});
  const std::string complete =
      R"("first":"a.safetensors","second":"a.safetensors","third":"b.safetensors")";
  write_index("{" + complete + "}");
  EXPECT_EQ(problem_of(ExitCode::kBadFile), "");
  write_index("{" + complete + R"(,"fourth":"b.safetensors"})");
  EXPECT_THAT(problem_of(ExitCode::kBadFile), HasSubstr("'fourth' is not in 'b.safetensors'"));
  write_index("{" + complete + R"(,"fourth":"c.safetensors"})");
  EXPECT_THAT(problem_of(ExitCode::kBadFile), HasSubstr("'c.safetensors', which is not"));
  write_index(R"({"first":"a.safetensors","third":"b.safetensors"})");
  EXPECT_THAT(problem_of(ExitCode::kBadFile), HasSubstr("does not list tensor 'second'"));
  write_index(R"({"first":"b.safetensors","second":"a.safetensors","third":"b.safetensors"})");
  EXPECT_THAT(problem_of(ExitCode::kBadFile), HasSubstr("'first' is not in 'b.safetensors'"));
  write_index(R"({"first":"../a.safetensors"})");
  EXPECT_THAT(problem_of(ExitCode::kBadFile), HasSubstr("plain file name"));
  write_index(R"({"first":7})");
  EXPECT_THAT(problem_of(ExitCode::kBadFile), HasSubstr("plain file name"));
  write_index("[]");
  EXPECT_THAT(problem_of(ExitCode::kBadFile), HasSubstr("no object weight_map"));
  write_index(std::string(100'000, '['));
  EXPECT_THAT(problem_of(ExitCode::kBadFile), HasSubstr("nested too deeply"));
  write_file("b.safetensors", {"third", "first"});
  write_index("{" + complete + "}");
  EXPECT_THAT(problem_of(ExitCode::kBadFile), HasSubstr("tensor first is also in"));
}

TEST_F(TensorFolderTest, AFolderWithoutWeightsIsNoInput) {
  EXPECT_THAT(problem_of(ExitCode::kNoInput), HasSubstr("neither model.safetensors nor"));
}

TEST_F(TensorFolderTest, ReadsWhatTheReferenceLibraryWrote) {
  const auto tensors = TensorFolder::open_weights(MOESAIC_GOLDEN_DIR "/olmoe");
  const auto* tensor = tensors.find("model.layers.1.mlp.experts.7.down_proj.weight");
  ASSERT_NE(tensor, nullptr);
  EXPECT_EQ(tensor->type, TensorType::kF32);
  EXPECT_EQ(tensor->shape, (std::vector<int64_t>{32, 24}));
  EXPECT_EQ(trainer::to_scalar_type(tensor->type), at::kFloat);
}

}  // namespace
}  // namespace moesaic::tests
