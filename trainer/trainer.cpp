#include "trainer/trainer.h"

#include <ATen/Functions.h>
#include <fmt/format.h>

#include <fstream>

#include "moe/model/families/olmoe.h"
#include "trainer/checkpoint/checkpoint_reader.h"
#include "trainer/config/read_config.h"
#include "trainer/data/token_windows.h"
#include "trainer/evaluation.h"
#include "trainer/fault_option.h"
#include "trainer/stop_signal.h"

namespace moesaic::trainer {
namespace {

void write_text(const std::filesystem::path& path, const std::string& text) {
  std::ofstream out(path);
  out << text << std::flush;
  if (!out) {
    throw ExitError(ExitCode::kStorage, "cannot write " + path.string());
  }
}

// A run may be continued from its own copy: `train runs/NAME/config.yaml`.
void copy_config(const std::filesystem::path& from, const std::filesystem::path& to) {
  std::error_code error;
  if (std::filesystem::equivalent(from, to, error)) {
    return;
  }
  std::filesystem::copy_file(from, to, std::filesystem::copy_options::overwrite_existing, error);
  if (error) {
    throw ExitError(ExitCode::kStorage, fmt::format("cannot copy {} to {}: {}", from.string(),
                                                    to.string(), error.message()));
  }
}

moe::StepShape step_shape(const Config& config) {
  return {.num_sequences = config.data.global_batch_size,
          .sequence_length = config.data.sequence_length,
          .micro_batch_sequences = config.data.micro_batch_size};
}

}  // namespace

Trainer::Trainer(const Config& config, const parallel::DeviceMesh& mesh, const DeviceChoice& device,
                 bool allow_config_change)
    : config_(config), mesh_(mesh), device_(device), run_dir_(*config.trainer.run_dir) {
  auto& world = *mesh_.world();
  lock_ = acquire_run_lock(world, run_dir_);
  log_ = std::make_unique<RunLog>(run_dir_, world.rank());
  if (lock_ != nullptr && !lock_->warning().empty()) {
    log_->warn(lock_->warning());
  }
  fault_ = make_fault_injection(config_.debug.fault, world);
  if (fault_ != nullptr && fault_->kind == parallel::FaultInjection::Kind::none) {
    timed_fault_ = std::make_unique<TimedFault>(*parse_fault(*config_.debug.fault), fault_);
    save_options_.fault = timed_fault_.get();
  }
  open_data();
  state_ =
      std::make_unique<TrainingState>(mesh_, training_options(config_, device_.device), fault_);
  lr_schedule_ = std::make_unique<LrSchedule>(config_.lr_schedule, config_.optimizer.lr,
                                              config_.trainer.max_steps);
  resume(allow_config_change);
  if (world.rank() == 0) {
    metrics_log_ = std::make_unique<MetricsLog>(run_dir_, step_);
    copy_config(config_.origins.at(""), run_dir_ / "config.yaml");
    write_text(run_dir_ / "resolved.yaml", resolved_yaml(config_));
  }
}

void Trainer::open_data() {
  const auto& data = mesh_.group("data");
  const auto open = [&](const std::vector<std::string>& prefixes) {
    return std::make_shared<TokenWindows>(prefixes, config_.data.sequence_length,
                                          config_.model.config.vocab_size);
  };
  const auto windows = open(config_.data.sources.train);
  data_fingerprint_ = windows->fingerprint();
  loader_ = std::make_unique<DataLoader>(
      windows,
      DataLoaderOptions{.global_batch_size = config_.data.global_batch_size,
                        .micro_batch_size = config_.data.micro_batch_size,
                        .seed = static_cast<uint64_t>(config_.data.seed)},
      data->rank(), data->size());
  if (!config_.data.sources.validation.empty()) {
    validation_ = std::make_unique<ValidationBatches>(open(config_.data.sources.validation),
                                                      config_.data.micro_batch_size, data->rank(),
                                                      data->size());
  }
}

void Trainer::resume(bool allow_config_change) {
  const auto newest = newest_valid(
      *mesh_.world(), run_dir_ / "checkpoints", [&](const auto& folder, const auto& reason) {
        save_options_.known_invalid.push_back(folder);
        if (mesh_.world()->rank() == 0) {
          log_->warn(fmt::format("skipping checkpoint {}: {}", folder.string(), reason));
        }
      });
  if (!newest) {
    if (config_.model.from) {
      load_weights(state_->model(), *config_.model.from);
      log_->info("weights from " + *config_.model.from);
    }
    return;
  }
  const auto run = read_run_state(*mesh_.world(), newest->path);
  const auto differences = resume_differences(run.configuration, config_);
  std::string changes;
  for (const auto& difference : differences) {
    changes += fmt::format("\n  {}: {} -> {}", difference.key, difference.before, difference.now);
  }
  if (run.data_fingerprint != data_fingerprint_) {
    changes += fmt::format("\n  contents of data.sources.train: fingerprint {} -> {}",
                           run.data_fingerprint, data_fingerprint_);
  }
  if (!changes.empty() && !allow_config_change) {
    throw ExitError(ExitCode::kConfiguration,
                    fmt::format("{} was written under another configuration (use "
                                "--allow-config-change to go on all the same):{}",
                                newest->path.string(), changes));
  }
  load_training_checkpoint(*state_, run, newest->path);
  step_ = run.step;
  last_saved_step_ = run.step;
  skipped_in_a_row_ = run.skipped_in_a_row;
  log_->info(fmt::format("resumed from {} after step {}", newest->path.string(), step_));
}

ExitCode Trainer::run() {
  const auto parameters = moe::count_olmoe_parameters(config_.model.config);
  log_->info(fmt::format(
      "{}: {} parameters, {} active a token; {} ranks ({} expert x {} "
      "expert_data), {} threads each",
      config_.name, parameters.total, parameters.active, mesh_.world()->size(),
      mesh_.group("expert")->size(), mesh_.group("expert_data")->size(), at::get_num_threads()));
  log_->info(device_line(device_));
  if (step_ >= config_.trainer.max_steps) {
    log_->info(
        fmt::format("nothing to do: step {} of {} is done", step_, config_.trainer.max_steps));
    return ExitCode::kDone;
  }
  interval_began_ = std::chrono::steady_clock::now();
  interval_first_step_ = step_;
  bool stop_requested = false;
  while (step_ < config_.trainer.max_steps && !stop_requested) {
    stop_requested = train_one_step();
    const bool is_last = step_ == config_.trainer.max_steps;
    if (config_.logging.validation_interval &&
        (due(config_.logging.validation_interval) || is_last)) {
      validate();
    }
    if (due(config_.checkpoint.interval) || is_last || stop_requested) {
      save();
    }
  }
  check_fault_was_hit(fault_.get(), *mesh_.world());
  if (step_ < config_.trainer.max_steps) {
    log_->info(fmt::format("stopped by a signal after step {}: the same command goes on", step_));
    return ExitCode::kPreempted;
  }
  log_->info(
      fmt::format("done: {} steps, checkpoints in {}", step_, (run_dir_ / "checkpoints").string()));
  return ExitCode::kDone;
}

bool Trainer::train_one_step() {
  if (timed_fault_ != nullptr) {
    timed_fault_->reach("step", step_ + 1);
  }
  const double lr = lr_schedule_->at(step_);
  const auto metrics =
      state_->train_step(loader_->next(step_), step_shape(config_), lr, stop_was_requested());
  ++step_;
  if (due(config_.logging.interval) || metrics.skipped || step_ == config_.trainer.max_steps) {
    log_step(metrics, lr);
  }
  count_skipped(metrics);
  return metrics.stop_requested;
}

void Trainer::count_skipped(const StepMetrics& metrics) {
  skipped_in_a_row_ = metrics.skipped ? skipped_in_a_row_ + 1 : 0;
  if (skipped_in_a_row_ >= config_.trainer.max_skipped_steps) {
    throw ExitError(ExitCode::kInternal,
                    fmt::format("{} steps in a row were skipped (step {}: loss {}, gradient norm "
                                "{}): trainer.max_skipped_steps is {}",
                                skipped_in_a_row_, step_, metrics.loss, metrics.grad_norm,
                                config_.trainer.max_skipped_steps));
  }
}

bool Trainer::due(const std::optional<int64_t>& interval) const {
  return interval && step_ % *interval == 0;
}

void Trainer::log_step(const StepMetrics& metrics, double lr) {
  const auto now = std::chrono::steady_clock::now();
  const double elapsed_s = std::chrono::duration<double>(now - interval_began_).count();
  const auto num_steps = static_cast<double>(std::max<int64_t>(step_ - interval_first_step_, 1));
  const auto tokens_per_step = step_shape(config_).num_tokens();
  LoggedStep logged;
  logged.step = step_;
  logged.max_steps = config_.trainer.max_steps;
  logged.num_tokens = step_ * tokens_per_step;
  logged.lr = lr;
  logged.step_ms = 1000.0 * elapsed_s / num_steps;
  logged.tokens_per_second = static_cast<double>(tokens_per_step) * num_steps / elapsed_s;
  if (metrics_log_ != nullptr) {
    metrics_log_->write_step(logged, metrics);
  }
  log_->info(console_line(logged, metrics));
  interval_began_ = std::chrono::steady_clock::now();
  interval_first_step_ = step_;
}

void Trainer::validate() {
  if (validation_ == nullptr) {
    return;
  }
  // The option counts global batches; a rank takes one micro-batch a pass.
  std::optional<int64_t> max_passes;
  if (config_.logging.validation_batches) {
    max_passes = std::min(*config_.logging.validation_batches, validation_->num_passes()) *
                 loader_->num_micro_batches();
  }
  const auto result = evaluate(state_->model(), mesh_, *validation_, max_passes);
  if (metrics_log_ != nullptr) {
    metrics_log_->write_validation(step_, result.loss, result.num_targets);
  }
  log_->info(fmt::format("step {}/{} | validation loss {:.4f} nats a token over {} tokens", step_,
                         config_.trainer.max_steps, result.loss, result.num_targets));
  interval_began_ = std::chrono::steady_clock::now();
  interval_first_step_ = step_;
}

void Trainer::save() {
  if (last_saved_step_ == step_) {
    return;
  }
  RunState run;
  run.step = step_;
  run.num_tokens = step_ * step_shape(config_).num_tokens();
  run.num_updates = state_->optimizer().num_updates();
  run.skipped_in_a_row = skipped_in_a_row_;
  run.data_fingerprint = data_fingerprint_;
  run.configuration = resolved_yaml(config_);
  const auto saved =
      save_training_checkpoint(*state_, run, config_, run_dir_ / "checkpoints", save_options_);
  last_saved_step_ = step_;
  for (const auto& warning : saved.warnings) {
    log_->warn(warning);
  }
  log_->info(fmt::format("saved {} ({:.1f} MB)", saved.path.string(),
                         static_cast<double>(saved.num_bytes) / 1e6));
  interval_began_ = std::chrono::steady_clock::now();
  interval_first_step_ = step_;
}

}  // namespace moesaic::trainer
