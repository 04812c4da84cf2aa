// The `trainer:`, `logging:` and `debug:` sections.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace moesaic::trainer {

enum class ParameterType { kFloat32, kFloat64 };

struct PrecisionOptions {
  ParameterType parameter = ParameterType::kFloat32;

  template <typename Visitor>
  void describe(Visitor& visitor) {
    visitor.choice("parameter", parameter,
                   {{"float32", ParameterType::kFloat32}, {"float64", ParameterType::kFloat64}},
                   {.help = "Type of weights, gradients, moments and arithmetic."});
  }
};

enum class DeviceKind { kAuto, kCpu, kCuda };

struct TrainerOptions {
  int64_t max_steps = 0;  ///< required
  int64_t seed = 0;
  std::optional<std::string> run_dir;  ///< read_config fills in runs/<name>
  DeviceKind device = DeviceKind::kAuto;
  std::optional<int64_t> threads;
  PrecisionOptions precision;
  int64_t max_skipped_steps = 5;

  template <typename Visitor>
  void describe(Visitor& visitor) {
    visitor.option("max_steps", max_steps,
                   {.help = "Optimizer steps of the whole run.",
                    .minimum = 1,
                    .required = true,
                    .may_change_on_resume = true});
    visitor.option("seed", seed, {.help = "Seed of the initial weights.", .minimum = 0});
    visitor.option(
        "run_dir", run_dir,
        {.help = "The run's own folder (log, metrics, checkpoints); null is runs/<name>.",
         .may_change_on_resume = true});
    visitor.choice(
        "device", device,
        {{"auto", DeviceKind::kAuto}, {"cpu", DeviceKind::kCpu}, {"cuda", DeviceKind::kCuda}},
        {.help = "Where tensors live: cuda is a GPU, for one rank; auto takes it where "
                 "it can, else the CPU.",
         .may_change_on_resume = true});
    visitor.option("threads", threads,
                   {.help = "Threads of a rank; null divides the machine's cores among its ranks.",
                    .minimum = 1,
                    .maximum = 1024,
                    .may_change_on_resume = true});
    visitor.section("precision", precision, "Number formats.");
    visitor.option("max_skipped_steps", max_skipped_steps,
                   {.help = "Steps in a row that may be skipped for a non-finite loss or gradient "
                            "before the run ends with exit code 70.",
                    .minimum = 1,
                    .may_change_on_resume = true});
  }
};

struct LoggingOptions {
  int64_t interval = 10;
  std::optional<int64_t> validation_interval;
  std::optional<int64_t> validation_batches;

  template <typename Visitor>
  void describe(Visitor& visitor) {
    visitor.option("interval", interval,
                   {.help = "Steps between lines of the console and of metrics.jsonl.",
                    .minimum = 1,
                    .may_change_on_resume = true});
    visitor.option("validation_interval", validation_interval,
                   {.help = "Steps between validations; the last step is validated too. Null never "
                            "validates.",
                    .minimum = 1,
                    .may_change_on_resume = true});
    visitor.option("validation_batches", validation_batches,
                   {.help = "Global batches of one validation; null takes all validation data.",
                    .minimum = 1,
                    .may_change_on_resume = true});
  }
};

struct DebugOptions {
  std::optional<std::string> fault;
  bool force_balance = false;

  template <typename Visitor>
  void describe(Visitor& visitor) {
    visitor.option(
        "fault", fault,
        {.help = "Breaks one thing on the last rank on purpose, KIND[@WHERE], so that the guards "
                 "are seen to fire: scale_gradient, drop_row, skip_reduce, stale_count, "
                 "double_aux, corrupt@all_to_all; kill, stop, slow, nan @step,step=N; kill, stop, "
                 "slow, enospc, short_write @save.PHASE,step=N. Null breaks nothing.",
         .may_change_on_resume = true});
    visitor.option(
        "force_balance", force_balance,
        {.help = "Tokens go to experts drawn uniformly, with equal weights: the router is "
                 "ignored."});
  }
};

}  // namespace moesaic::trainer
