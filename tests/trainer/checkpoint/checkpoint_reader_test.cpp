#include "trainer/checkpoint/checkpoint_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <random>

#include "tests/support/spawn_ranks.h"
#include "tests/trainer/checkpoint/checkpoint_fixture.h"
#include "trainer/exit_code.h"

namespace moesaic::tests {
namespace {

using parallel::Communicator;
using testing::ElementsAre;
using testing::HasSubstr;
using trainer::ExitCode;
using trainer::ExitError;
using trainer::TensorType;

class CheckpointReader : public CheckpointFixture {
 protected:
  void save(int64_t step, int version) {
    spawn_ranks(1, [&](Communicator& communicator) {
      save_version(communicator, checkpoints(), step, version);
    });
  }

  std::filesystem::path folder(int64_t step) {
    return checkpoints() / trainer::step_folder_name(step);
  }

  std::string problem_of(const std::filesystem::path& path) {
    try {
      trainer::validate_checkpoint(path);
    } catch (const ExitError& error) {
      EXPECT_EQ(error.code(), ExitCode::kStorage) << error.what();
      return error.what();
    }
    return {};
  }

  // The step that n ranks agree on; -1 when there is none.
  int64_t newest(int num_ranks, std::vector<std::string>* skipped = nullptr) {
    std::vector<int64_t> steps(num_ranks, -1);
    spawn_ranks(num_ranks, [&](Communicator& communicator) {
      const auto found = trainer::newest_valid(
          communicator, checkpoints(), [&](const auto& path, const std::string& reason) {
            if (communicator.rank() == num_ranks - 1 && skipped != nullptr) {
              skipped->push_back(path.filename().string() + ": " + reason);
            }
          });
      if (found)
        steps[communicator.rank()] = found->step;
    });
    for (const int64_t step : steps)
      EXPECT_EQ(step, steps[0]);
    return steps[0];
  }
};

TEST_F(CheckpointReader, NewestIsByNumber) {
  EXPECT_EQ(newest(2), -1);
  for (const int64_t step : {999'999, 1'000'000, 20, 3})
    save(step, 1);
  EXPECT_EQ(newest(1), 1'000'000);
  EXPECT_EQ(newest(3), 1'000'000);
}

TEST_F(CheckpointReader, OtherNamesAreNoCheckpoints) {
  save(20, 1);
  for (const char* name : {"step-30", "step-000030.tmp-1", ".trash-step-000030-1", "step--00030",
                           "step-000030x", "step-9223372036854775808", "step-0000030"}) {
    std::filesystem::copy(folder(20), checkpoints() / name,
                          std::filesystem::copy_options::recursive);
  }
  EXPECT_EQ(newest(1), 20);
}

TEST_F(CheckpointReader, InvalidOnesAreNamedAndSkipped) {
  for (const int64_t step : {10, 20, 30, 40})
    save(step, 1);
  std::filesystem::remove(folder(40) / "manifest.json");
  std::filesystem::resize_file(folder(30) / "optimizer-00004-of-00004.safetensors", 10);
  for (const int num_ranks : {1, 2, 4}) {
    std::vector<std::string> skipped;
    EXPECT_EQ(newest(num_ranks, &skipped), 20);
    EXPECT_THAT(skipped, ElementsAre(testing::AllOf(HasSubstr("step-000040"),
                                                    HasSubstr("manifest.json does not exist")),
                                     testing::AllOf(HasSubstr("step-000030"),
                                                    HasSubstr("optimizer-00004-of-00004"),
                                                    HasSubstr("has 10 bytes"))));
  }
}

TEST_F(CheckpointReader, NoValidOneAmongSomeIsAnError) {
  save(10, 1);
  write_bytes(folder(10) / "config.json", "{}");
  try {
    newest(2);
    ADD_FAILURE();
  } catch (const ExitError& error) {
    EXPECT_EQ(error.code(), ExitCode::kStorage);
    EXPECT_THAT(error.what(), HasSubstr("none of the 1 checkpoints"));
  }
}

TEST_F(CheckpointReader, EveryFlippedBitIsFoundAndItsFileNamed) {
  save(10, 1);
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder(10))) {
    files.push_back(entry.path());
  }
  std::mt19937 random(1);
  for (int flip = 0; flip < 240; ++flip) {
    // Every file in turn, so that small ones are hit too.
    const auto& path = files[flip % files.size()];
    const std::string bytes = read_bytes(path);
    std::string flipped = bytes;
    const size_t bit = random() % (bytes.size() * 8);
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
    write_bytes(path, flipped);
    EXPECT_THAT(problem_of(folder(10)), HasSubstr(path.filename().string())) << "bit " << bit;
    write_bytes(path, bytes);
  }
  EXPECT_EQ(problem_of(folder(10)), "");
}

TEST_F(CheckpointReader, MissingTruncatedGrownAndStrayFiles) {
  save(10, 1);
  const std::string weights = "model-00002-of-00002.safetensors";
  const std::string bytes = read_bytes(folder(10) / weights);
  for (const auto& entry : std::filesystem::directory_iterator(folder(10))) {
    const std::string content = read_bytes(entry.path());
    std::filesystem::remove(entry.path());
    EXPECT_THAT(problem_of(folder(10)), HasSubstr(entry.path().filename().string()));
    write_bytes(entry.path(), "");
    EXPECT_THAT(problem_of(folder(10)), HasSubstr(entry.path().filename().string()));
    write_bytes(entry.path(), content + "x");
    EXPECT_THAT(problem_of(folder(10)), HasSubstr(entry.path().filename().string()));
    write_bytes(entry.path(), content);
  }
  write_bytes(folder(10) / "model-00003-of-00003.safetensors", bytes);
  EXPECT_THAT(problem_of(folder(10)), HasSubstr("model-00003-of-00003.safetensors is not listed"));
  std::filesystem::remove(folder(10) / "model-00003-of-00003.safetensors");
  write_bytes(folder(10) / "README.md", "a user's own note");
  EXPECT_EQ(problem_of(folder(10)), "");
}

TEST_F(CheckpointReader, FilesOfAnotherStepOrShardAreFound) {
  save(10, 1);
  save(20, 2);
  const std::string weights = "model-00002-of-00002.safetensors";
  const std::string bytes = read_bytes(folder(20) / weights);
  write_bytes(folder(20) / weights, read_bytes(folder(10) / weights));
  EXPECT_THAT(problem_of(folder(20)), HasSubstr(weights));
  write_bytes(folder(20) / weights, bytes);
  EXPECT_EQ(problem_of(folder(20)), "");
  std::filesystem::rename(folder(20), folder(30));
  EXPECT_THAT(problem_of(folder(30)), HasSubstr("is of step 20"));
}

TEST_F(CheckpointReader, WhatIsNoRegularFileIsRefused) {
  save(10, 1);
  const auto path = folder(10) / "config.json";
  const std::string bytes = read_bytes(path);
  write_bytes(root() / "elsewhere", bytes);
  std::filesystem::remove(path);
  std::filesystem::create_symlink(root() / "elsewhere", path);
  EXPECT_THAT(problem_of(folder(10)), HasSubstr("config.json"));
  std::filesystem::remove(path);
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  EXPECT_THAT(problem_of(folder(10)), HasSubstr("config.json"));
  std::filesystem::remove(path);
  std::filesystem::create_directory(path);
  EXPECT_THAT(problem_of(folder(10)), HasSubstr("config.json"));
}

class CheckpointLoading : public CheckpointReader {
 protected:
  // What loading with other expectations says; the same on both ranks.
  std::string load_problem(std::vector<trainer::LogicalTensor> expected, ExitCode code,
                           std::vector<trainer::TensorDestination> destinations = {}) {
    std::vector<std::string> messages(2);
    spawn_ranks(2, [&](Communicator& communicator) {
      try {
        load_checkpoint(communicator, folder(10), expected, destinations);
      } catch (const ExitError& error) {
        EXPECT_EQ(error.code(), code);
        messages[communicator.rank()] = error.what();
      }
    });
    EXPECT_EQ(messages[0], messages[1]);
    return messages[0];
  }
};

TEST_F(CheckpointLoading, DifferencesAreNamed) {
  save(10, 1);
  auto expected = all_test_tensors();
  expected.push_back({"model.layers.0.mlp.experts.2.up_proj.weight", TensorType::kF32, {5, 6}});
  EXPECT_THAT(load_problem(expected, ExitCode::kStorage),
              HasSubstr("experts.2.up_proj.weight is missing"));
  expected = all_test_tensors();
  expected.pop_back();
  EXPECT_THAT(load_problem(expected, ExitCode::kStorage), HasSubstr("num_updates is not expected"));
  expected = all_test_tensors();
  expected[1].shape = {6, 5};
  expected[0].type = TensorType::kF64;
  EXPECT_THAT(
      load_problem(expected, ExitCode::kStorage),
      testing::AllOf(HasSubstr("model.embed_tokens.weight is F32 [13, 6], expected F64 [13, 6]"),
                     HasSubstr("experts.0.up_proj.weight is F32 [5, 6], expected F32 [6, 5]")));
}

TEST_F(CheckpointLoading, BytesThatNobodyReadAreNamed) {
  save(10, 1);
  std::vector<trainer::TensorDestination> destinations;
  std::vector<std::string> buffers;
  buffers.reserve(all_test_tensors().size());
  for (const auto& tensor : all_test_tensors()) {
    auto& buffer = buffers.emplace_back(
        trainer::tensor_num_bytes(tensor.name, tensor.type, tensor.shape), '\0');
    destinations.push_back({tensor.name, 0, buffer.data(), static_cast<int64_t>(buffer.size())});
  }
  EXPECT_EQ(load_problem(all_test_tensors(), ExitCode::kDone, destinations), "");
  destinations.front().num_bytes = 10;
  EXPECT_THAT(load_problem(all_test_tensors(), ExitCode::kInternal, destinations),
              HasSubstr("of model.embed_tokens.weight the ranks have read 20 of 312 bytes"));
  destinations.front().offset = 304;
  EXPECT_THAT(load_problem(all_test_tensors(), ExitCode::kInternal, destinations),
              HasSubstr("are not inside model.embed_tokens.weight"));
}

TEST_F(CheckpointLoading, DocumentsAreReadByRankZeroForAll) {
  save(10, 1);
  spawn_ranks(2, [&](Communicator& communicator) {
    EXPECT_EQ(trainer::read_document(communicator, folder(10), "tokenizer.json"),
              "{\"version\": \"1.0\"}\n");
    EXPECT_THROW(trainer::read_document(communicator, folder(10), "absent.json"), ExitError);
  });
}

}  // namespace
}  // namespace moesaic::tests
