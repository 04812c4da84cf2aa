// The whole configuration of a run: every key of the YAML file, one section a member.
// The sections are declared by their owners; this file only puts them together.
#pragma once

#include "kernels/kernel_options.h"
#include "moe/model/model_config.h"
#include "moe/moe_options.h"
#include "parallel/parallel_options.h"
#include "trainer/checkpoint/checkpoint_options.h"
#include "trainer/data/data_options.h"
#include "trainer/optimizer_options.h"
#include "trainer/trainer_options.h"

#include <map>
#include <optional>
#include <string>

namespace moesaic::trainer {

/// The `model:` section: a config.json inline, or the folder that holds one.
struct ModelOptions {
  std::optional<std::string> from;
  bool hf_compatible = true;
  moe::ModelConfig config;  ///< its keys stand in `model:` itself

  template <typename Visitor>
  void describe(Visitor& visitor) {
    visitor.option("from", from,
                   {.help = "Folder whose config.json and weights the run starts from; null starts "
                            "from random weights.",
                    .may_change_on_resume = true});
    visitor.option("hf_compatible", hf_compatible,
                   {.help = "Refuse what Hugging Face could not load from the checkpoints.",
                    .may_change_on_resume = true});
    config.describe(visitor);
  }
};

struct Config {
  std::string name;
  ModelOptions model;
  moe::MoeOptions moe;
  parallel::ParallelOptions parallel;
  DataOptions data;
  OptimizerOptions optimizer;
  LrScheduleOptions lr_schedule;
  TrainerOptions trainer;
  CheckpointOptions checkpoint;
  LoggingOptions logging;
  kernels::KernelOptions kernels;
  DebugOptions debug;

  /// Where a key was given: dotted key -> "file:line:column" or "--key=value". Keys left at their
  /// default are absent. The empty key names the file itself.
  std::map<std::string, std::string> origins;

  template <typename Visitor>
  void describe(Visitor& visitor) {
    visitor.option("name", name,
                   {.help = "Name of the run: letters, digits, '.', '_' and '-'.",
                    .required = true,
                    .may_change_on_resume = true});
    visitor.section("model", model, "The model: the keys of a Hugging Face config.json (OLMoE).");
    visitor.section("moe", moe, "How the experts are trained.");
    visitor.section("parallel", parallel, "How ranks divide the work.");
    visitor.section("data", data, "Token files and batches.");
    visitor.section("optimizer", optimizer, "AdamW.");
    visitor.section("lr_schedule", lr_schedule, "Course of the learning rate.");
    visitor.section("trainer", trainer, "The run as a whole.");
    visitor.section("checkpoint", checkpoint, "Checkpoints: Hugging Face folders under run_dir.");
    visitor.section("logging", logging, "What is printed and measured, and when.");
    visitor.section("kernels", kernels, "Implementations of operators.");
    visitor.section("debug", debug, "For tests and experiments.");
  }
};

}  // namespace moesaic::trainer
