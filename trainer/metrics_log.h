// metrics.jsonl and the console line: what every step did. Only rank 0 owns one.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>

#include "trainer/training_state.h"

namespace moesaic::trainer {

/// A logged step.
struct LoggedStep {
  int64_t step = 0;  ///< number of the step just done, from 1
  int64_t max_steps = 0;
  int64_t num_tokens = 0;  ///< consumed since the start of the run
  double lr = 0.0;
  double step_ms = 0.0;  ///< mean since the last line
  double tokens_per_second = 0.0;
};

class MetricsLog {
 public:
  /// Opens run_dir/metrics.jsonl for appending, without the lines after `resumed_step` (a run that
  /// was killed had gone further than its checkpoint) and without a torn last line.
  MetricsLog(const std::filesystem::path& run_dir, int64_t resumed_step);

  /// One JSON object: losses, norm, rate, and for each layer the experts' loads.
  void write_step(const LoggedStep& logged, const StepMetrics& metrics);
  void write_validation(int64_t step, double loss, int64_t num_targets);

 private:
  void write_line(const std::string& json);

  std::ofstream file_;
  std::filesystem::path path_;
};

/// "step 120/5000 | loss 3.4127 | balance 1.02 z 0.31 | norm 0.84 | lr 3.0e-04 | ..."
std::string console_line(const LoggedStep& logged, const StepMetrics& metrics);

}  // namespace moesaic::trainer
