// The `optimizer:` and `lr_schedule:` sections. Defaults are OLMoE-1B-7B's.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace moesaic::trainer {

/// AdamW (Loshchilov and Hutter, arXiv 1711.05101).
struct OptimizerOptions {
  double lr = 4e-4;
  std::vector<double> betas = {0.9, 0.95};
  double eps = 1e-8;
  double weight_decay = 0.1;
  std::optional<double> max_grad_norm = 1.0;

  template <typename Visitor>
  void describe(Visitor& visitor) {
    visitor.option("lr", lr, {.help = "Peak learning rate.", .above = 0.0});
    visitor.option("betas", betas,
                   {.help = "Decay of AdamW's first and second moment.",
                    .minimum = 0.0,
                    .below = 1.0,
                    .length = 2});
    visitor.option("eps", eps, {.help = "AdamW's epsilon, added to the root.", .above = 0.0});
    visitor.option("weight_decay", weight_decay,
                   {.help = "Decoupled weight decay, on every parameter.", .minimum = 0.0});
    visitor.option("max_grad_norm", max_grad_norm,
                   {.help = "Gradients are scaled down to this global norm; null does not clip.",
                    .above = 0.0});
  }
};

enum class LrScheduleKind { kConstant, kCosine, kLinear };

struct LrScheduleOptions {
  LrScheduleKind kind = LrScheduleKind::kCosine;
  std::optional<int64_t> warmup_steps;  ///< at most one of the two is set
  std::optional<double> warmup_fraction;
  double final_fraction = 0.1;

  template <typename Visitor>
  void describe(Visitor& visitor) {
    visitor.choice("kind", kind,
                   {{"constant", LrScheduleKind::kConstant},
                    {"cosine", LrScheduleKind::kCosine},
                    {"linear", LrScheduleKind::kLinear}},
                   {.help = "Course of the learning rate after the warm-up."});
    visitor.option(
        "warmup_steps", warmup_steps,
        {.help = "Steps of linear warm-up; null for none, or when warmup_fraction is given.",
         .minimum = 1});
    visitor.option("warmup_fraction", warmup_fraction,
                   {.help = "Warm-up as a fraction of trainer.max_steps; excludes warmup_steps.",
                    .maximum = 1.0,
                    .above = 0.0});
    visitor.option(
        "final_fraction", final_fraction,
        {.help = "Learning rate of the last step as a fraction of the peak (cosine, linear).",
         .minimum = 0.0,
         .maximum = 1.0});
  }
};

}  // namespace moesaic::trainer
