// A training run: resume, loop, validate, save, stop. The maths of a step is in training_state.cpp.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "parallel/device_mesh.h"
#include "trainer/checkpoint/run_lock.h"
#include "trainer/config/config.h"
#include "trainer/data/data_loader.h"
#include "trainer/data/validation_batches.h"
#include "trainer/device_choice.h"
#include "trainer/exit_code.h"
#include "trainer/lr_schedule.h"
#include "trainer/metrics_log.h"
#include "trainer/model_checkpoint.h"
#include "trainer/run_log.h"
#include "trainer/training_state.h"

namespace moesaic::trainer {

class Trainer {
 public:
  /// Opens data and run folder, builds the model and resumes from the newest valid checkpoint, or
  /// starts from `model.from`, or from the seed. Collective over the mesh, which must outlive this.
  /// allow_config_change: resume although keys changed that decide about the result.
  Trainer(const Config& config, const parallel::DeviceMesh& mesh, const DeviceChoice& device,
          bool allow_config_change);

  /// Trains to trainer.max_steps. Returns kDone, or kPreempted after a signal (saved). Throws
  /// ExitError(kInternal) after too many skipped steps in a row. Collective.
  ExitCode run();

 private:
  void open_data();
  void resume(bool allow_config_change);
  bool train_one_step();
  void log_step(const StepMetrics& metrics, double lr);
  void count_skipped(const StepMetrics& metrics);
  void validate();
  void save();
  bool due(const std::optional<int64_t>& interval) const;

  Config config_;
  const parallel::DeviceMesh& mesh_;
  DeviceChoice device_;
  std::filesystem::path run_dir_;
  std::unique_ptr<RunLock> lock_;  // rank 0
  std::unique_ptr<RunLog> log_;
  std::shared_ptr<parallel::FaultInjection> fault_;
  std::unique_ptr<TimedFault> timed_fault_;  // null unless debug.fault is one of the process
  SaveOptions save_options_;
  std::unique_ptr<TrainingState> state_;
  std::unique_ptr<DataLoader> loader_;
  std::unique_ptr<ValidationBatches> validation_;  // null without validation data
  std::unique_ptr<MetricsLog> metrics_log_;        // rank 0
  std::unique_ptr<LrSchedule> lr_schedule_;
  std::string data_fingerprint_;

  int64_t step_ = 0;  // steps done
  int64_t last_saved_step_ = -1;
  int64_t skipped_in_a_row_ = 0;
  std::chrono::steady_clock::time_point interval_began_;
  int64_t interval_first_step_ = 0;
};

}  // namespace moesaic::trainer
