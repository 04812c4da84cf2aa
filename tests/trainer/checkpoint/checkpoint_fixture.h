// A small model whose bytes are closed forms of (version, tensor, index), saved and loaded in any
// split over ranks; and a file system seam that counts calls.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "parallel/communicator.h"
#include "trainer/checkpoint/checkpoint_reader.h"
#include "trainer/checkpoint/checkpoint_writer.h"

namespace moesaic::tests {

inline void write_bytes(const std::filesystem::path& path, const std::string& bytes) {
  std::ofstream stream(path, std::ios::binary | std::ios::trunc);
  stream << bytes;
  ASSERT_TRUE(stream.flush().good()) << path;
}

inline std::string read_bytes(const std::filesystem::path& path) {
  std::ifstream stream(path, std::ios::binary);
  EXPECT_TRUE(stream.good()) << path;
  std::ostringstream bytes;
  bytes << stream.rdbuf();
  return bytes.str();
}

/// A fresh folder for each test.
class CheckpointFixture : public testing::Test {
 protected:
  void SetUp() override {
    // In memory where that is possible: the fault tests flush some ten thousand times.
    const bool has_memory = ::access("/dev/shm", W_OK) == 0;
    const std::filesystem::path parent =
        has_memory ? "/dev/shm" : std::filesystem::temp_directory_path();
    std::string pattern = (parent / "moesaic-XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(root_); }

  const std::filesystem::path& root() const { return root_; }
  std::filesystem::path checkpoints() const { return root_ / "checkpoints"; }

 private:
  std::filesystem::path root_;
};

/// Weights and moments: ranks 0 to 3, an empty tensor, three types.
inline std::vector<trainer::LogicalTensor> test_weights() {
  using trainer::TensorType;
  return {{"model.embed_tokens.weight", TensorType::kF32, {13, 6}},
          {"model.layers.0.mlp.experts.0.up_proj.weight", TensorType::kF32, {5, 6}},
          {"model.layers.0.mlp.experts.1.up_proj.weight", TensorType::kF32, {5, 6}},
          {"model.layers.10.input_layernorm.weight", TensorType::kBF16, {7}},
          {"model.norm.weight", TensorType::kF32, {6}},
          {"lm_head.weight", TensorType::kF64, {3, 2, 1}}};
}

inline std::vector<trainer::LogicalTensor> test_optimizer_state() {
  using trainer::TensorType;
  std::vector<trainer::LogicalTensor> state;
  for (const auto& tensor : test_weights()) {
    state.push_back({"exp_avg." + tensor.name, TensorType::kF32, tensor.shape});
    state.push_back({"exp_avg_sq." + tensor.name, TensorType::kF32, tensor.shape});
  }
  state.push_back({"skip_window", TensorType::kF64, {0}});
  state.push_back({"num_updates", TensorType::kI64, {}});
  return state;
}

inline std::vector<trainer::LogicalTensor> all_test_tensors() {
  auto tensors = test_weights();
  for (auto& tensor : test_optimizer_state())
    tensors.push_back(tensor);
  return tensors;
}

inline trainer::CheckpointPlan test_plan(int64_t max_file_bytes = 500) {
  return {test_weights(), test_optimizer_state(), max_file_bytes};
}

/// The bytes of a tensor in state `version`: no two versions or tensors share a run of bytes.
inline std::string test_bytes(const trainer::LogicalTensor& tensor, int version) {
  uint64_t seed = 1469598103934665603u + static_cast<uint64_t>(version);
  for (const char character : tensor.name)
    seed = (seed ^ static_cast<uint8_t>(character)) * 1099511628211u;
  std::string bytes(trainer::tensor_num_bytes(tensor.name, tensor.type, tensor.shape), '\0');
  for (size_t idx = 0; idx < bytes.size(); ++idx) {
    bytes[idx] = static_cast<char>(((seed + idx) * 0x9e3779b97f4a7c15u) >> 56);
  }
  return bytes;
}

/// The state of a model, and the parts of it that a rank owns.
class TestState {
 public:
  explicit TestState(int version) {
    for (const auto& tensor : all_test_tensors())
      bytes_[tensor.name] = test_bytes(tensor, version);
  }

  enum class Split { kByTensor, kByBytes };

  /// kByTensor: whole tensors in turn. kByBytes: every tensor cut into size unequal parts, in an
  /// order that differs from rank to rank, with empty parts among them.
  std::vector<trainer::TensorBytes> owned(int rank, int size, Split split) const {
    std::vector<trainer::TensorBytes> parts;
    int turn = 0;
    for (const auto& [name, bytes] : bytes_) {
      const auto num_bytes = static_cast<int64_t>(bytes.size());
      if (split == Split::kByTensor) {
        if (turn++ % size == rank)
          parts.push_back({name, 0, bytes.data(), num_bytes});
        continue;
      }
      const int64_t begin = num_bytes * rank * rank / (size * size);
      const int64_t end = num_bytes * (rank + 1) * (rank + 1) / (size * size);
      parts.push_back({name, begin, bytes.data() + begin, end - begin});
    }
    if (rank % 2 == 1)
      std::reverse(parts.begin(), parts.end());
    return parts;
  }

 private:
  std::map<std::string, std::string> bytes_;
};

inline std::vector<trainer::Document> test_documents(int64_t step) {
  return {{"config.json", "{\"model_type\": \"olmoe\"}\n"},
          {"generation_config.json", "{}\n"},
          {"tokenizer.json", "{\"version\": \"1.0\"}\n"},
          {"trainer.json", "{\"format_version\": 1, \"step\": " + std::to_string(step) +
                               ", \"tokens\": " + std::to_string(64 * step) + "}\n"}};
}

/// Collective. Saves version `version` as step `step`.
inline trainer::SavedCheckpoint save_version(
    parallel::Communicator& communicator, const std::filesystem::path& checkpoints, int64_t step,
    int version, TestState::Split split = TestState::Split::kByBytes,
    const std::function<void(trainer::SaveRequest&)>& adjust = {}) {
  const TestState state(version);
  const auto plan = test_plan();
  trainer::SaveRequest request;
  request.checkpoints = checkpoints;
  request.step = step;
  request.plan = &plan;
  request.documents = test_documents(step);
  request.bytes = state.owned(communicator.rank(), communicator.size(), split);
  if (adjust)
    adjust(request);
  return save_checkpoint(communicator, request);
}

/// Collective. Loads a folder in `split` and returns the version that every byte is of; -1 when it
/// is a mixture.
inline int load_version(parallel::Communicator& communicator, const std::filesystem::path& folder,
                        const std::vector<int>& versions) {
  std::map<std::string, std::string> loaded;
  std::vector<trainer::TensorDestination> destinations;
  for (const auto& tensor : all_test_tensors()) {
    auto& bytes = loaded[tensor.name];
    bytes.resize(trainer::tensor_num_bytes(tensor.name, tensor.type, tensor.shape));
    const auto size = static_cast<int64_t>(bytes.size());
    const int64_t half = size / 2;
    destinations.push_back({tensor.name, half, bytes.data() + half, size - half});
    destinations.push_back({tensor.name, 0, bytes.data(), half});
  }
  load_checkpoint(communicator, folder, all_test_tensors(), destinations);
  for (const int version : versions) {
    bool is_equal = true;
    for (const auto& tensor : all_test_tensors()) {
      is_equal = is_equal && loaded[tensor.name] == test_bytes(tensor, version);
    }
    if (is_equal)
      return version;
  }
  return -1;
}

/// Counts the calls of one rank and lets a test act on any of them.
class ScriptedFileOperations : public trainer::FileOperations {
 public:
  /// Returns an errno to fail with, or 0 to go on. `call_idx` counts from 0.
  using Script = std::function<int(const std::string& call, int64_t call_idx)>;
  explicit ScriptedFileOperations(Script script = {}) : script_(std::move(script)) {}
  int64_t num_calls() const { return static_cast<int64_t>(calls_.size()); }
  const std::vector<std::string>& calls() const { return calls_; }

  int open(const char* path, int flags, mode_t mode) override {
    return fails("open") ? -1 : FileOperations::open(path, flags, mode);
  }
  ssize_t pwrite(int file, const void* data, size_t num_bytes, int64_t offset) override {
    return fails("pwrite") ? -1 : FileOperations::pwrite(file, data, num_bytes, offset);
  }
  ssize_t pread(int file, void* data, size_t num_bytes, int64_t offset) override {
    return fails("pread") ? -1 : FileOperations::pread(file, data, num_bytes, offset);
  }
  int allocate(int file, int64_t num_bytes) override {
    return fails("allocate") ? -1 : FileOperations::allocate(file, num_bytes);
  }
  int fsync(int file) override { return fails("fsync") ? -1 : FileOperations::fsync(file); }
  int mkdir(const char* path) override { return fails("mkdir") ? -1 : FileOperations::mkdir(path); }
  int rename(const char* from, const char* to) override {
    return fails("rename") ? -1 : FileOperations::rename(from, to);
  }
  int exchange(const char* one, const char* other) override {
    return fails("exchange") ? -1 : FileOperations::exchange(one, other);
  }
  std::error_code remove_tree(const std::filesystem::path& path) override {
    if (fails("remove_tree"))
      return {errno, std::generic_category()};
    return FileOperations::remove_tree(path);
  }

 private:
  bool fails(const char* call) {
    calls_.push_back(call);
    errno = script_ ? script_(call, num_calls() - 1) : 0;
    return errno != 0;
  }

  Script script_;
  std::vector<std::string> calls_;
};

}  // namespace moesaic::tests
