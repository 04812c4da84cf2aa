// The verbs of the command line. Each parses nothing: command_line.cpp fills these arguments in.
// All return the exit code of the process or throw; `overrides` are --section.key=value as typed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "trainer/checkpoint/checkpoint_commands.h"
#include "trainer/data/data_commands.h"

namespace moesaic::trainer {

struct TrainArguments {
  std::filesystem::path config;
  bool dry_run = false;
  bool allow_config_change = false;
  bool kernel_log = false;
  std::vector<std::string> overrides;
};

/// Every rank of the job calls it.
int train_command(const TrainArguments& arguments);

struct ParityArguments {
  std::filesystem::path folder;
  bool json = false;
  bool kernel_log = false;
  std::vector<std::string> overrides;
};

/// Every rank of the job calls it.
int parity_command(const ParityArguments& arguments);

struct EvalArguments {
  std::filesystem::path folder;
  std::string data;  ///< prefix of the token files
  bool kernel_log = false;
  std::vector<std::string> overrides;
};

/// Every rank of the job calls it.
int eval_command(const EvalArguments& arguments);

struct GenerateArguments {
  std::filesystem::path folder;
  std::string prompt;
  int64_t max_new_tokens = 200;
  double temperature = 0.0;      ///< 0: the most likely token, always
  std::optional<int64_t> top_k;  ///< draw among the k most likely tokens; none: among all
  int64_t seed = 0;
  bool kernel_log = false;
  std::vector<std::string> overrides;
};

/// Every rank of the job calls it.
int generate_command(const GenerateArguments& arguments);

struct ConfigArguments {
  std::optional<std::filesystem::path> config;
  bool docs = false;
  std::vector<std::string> overrides;
};

/// Prints the resolved configuration, or the documentation of every key.
int config_command(const ConfigArguments& arguments);

/// Prints the versions of moesaic, LibTorch and MPI.
int version_command();

}  // namespace moesaic::trainer
