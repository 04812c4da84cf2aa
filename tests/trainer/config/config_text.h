// Configurations for the tests of this folder: a small valid one, and edits of it.
#pragma once

#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>

#include "trainer/exit_code.h"

namespace moesaic::trainer {

/// A valid configuration; tests refer to its lines by number.
inline constexpr const char* kValidConfig = R"(name: tiny
model:
  vocab_size: 320
  hidden_size: 32
  intermediate_size: 16
  num_hidden_layers: 2
  num_attention_heads: 4
  max_position_embeddings: 64
  num_experts: 8
  num_experts_per_tok: 2
  eos_token_id: 256
moe:
  load_balance:
    scope: sequence
  capacity:
    factor: 1.25
data:
  global_batch_size: 8
  micro_batch_size: 2
  sequence_length: 32
  sources:
    train: [a, b]
    validation: [c]
optimizer:
  lr: 1e-3
  betas: [0.9, 0.95]
trainer:
  max_steps: 10
)";

/// The valid configuration with the first `from` replaced by `to`.
inline std::string edited(const std::string& from, const std::string& to) {
  std::string text = kValidConfig;
  auto at = text.find(from);
  if (at == std::string::npos) {
    throw std::logic_error("the valid configuration has no '" + from + "'");
  }
  return text.replace(at, from.size(), to);
}

/// A file of this content, gone with the object.
class TemporaryFile {
 public:
  explicit TemporaryFile(const std::string& content, const std::string& suffix = ".yaml")
      : path_(std::filesystem::temp_directory_path() /
              ("moesaic-config-" + std::to_string(counter()++) + "-" +
               std::to_string(std::hash<std::string>()(content)) + suffix)) {
    std::ofstream(path_, std::ios::binary) << content;
  }
  ~TemporaryFile() {
    std::error_code ignored;
    std::filesystem::remove(path_, ignored);
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  const std::filesystem::path& path() const { return path_; }

 private:
  static int& counter() {
    static int count = 0;
    return count;
  }
  std::filesystem::path path_;
};

struct Failure {
  ExitCode code = ExitCode::kDone;
  std::string message;
};

/// What `body` throws as ExitError; kDone and no message if it does not.
template <typename Body>
Failure failure_of(Body body) {
  try {
    body();
  } catch (const ExitError& error) {
    return {error.code(), error.what()};
  }
  return {};
}

}  // namespace moesaic::trainer
