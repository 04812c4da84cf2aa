// moesaic bench operators | layer | step: speed against yardsticks of the same run (README.md).
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "trainer/bench/bench_shape.h"

namespace moesaic::trainer {

struct BenchArguments {
  BenchShape shape;  ///< of operators and layer
  std::string dtype = "float32";
  std::filesystem::path config;  ///< of step
  int64_t rounds = 12;
  bool json = false;
  std::vector<std::string> overrides;
};

/// One process, one rank. All print a report and return kDone; they throw ExitError(kUsage) for
/// sizes that cannot be and under mpirun with several ranks, kConfiguration for overrides, and
/// kInternal when something is not equal to its reference.

/// Every operator of kernels/ops.h.
int bench_operators_command(const BenchArguments& arguments);

/// One MoE layer, forward and backward.
int bench_layer_command(const BenchArguments& arguments);

/// One training step of a configuration on synthetic tokens. No data is opened.
int bench_step_command(const BenchArguments& arguments);

}  // namespace moesaic::trainer
