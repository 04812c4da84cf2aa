// The `moe:` section: what training does to the routing, on top of what the model itself says.
// Plain data with describe(), so that this folder needs neither YAML nor the trainer.
#pragma once

#include <cstdint>
#include <optional>

#include "kernels/ops.h"

namespace moesaic::moe {

/// How the load-balance value is computed from counts and mean probabilities.
enum class BalanceFormula {
  kSwitch,  ///< E/(K*T) * sum_e n_e p_e, mean over groups and layers: 1 when balanced (OLMoE's own)
  kHuggingFace,  ///< all layers' logits concatenated, no 1/K: K when balanced (exists for parity)
};

/// The tokens over which a load-balance group counts.
enum class BalanceScope { kSequence, kMicroBatch, kGlobal };

/// The tokens that share one capacity.
enum class CapacityGroup { kSequence, kMicroBatch };

using kernels::DropPolicy;

/// Who moves rows to experts.
enum class DispatcherKind { kAuto, kLocal, kAllToAll };

struct LoadBalanceOptions {
  BalanceFormula formula = BalanceFormula::kSwitch;
  BalanceScope scope = BalanceScope::kSequence;
  std::optional<double> coef;  ///< read_config fills in model.router_aux_loss_coef

  template <typename Visitor>
  void describe(Visitor& visitor) {
    visitor.choice(
        "formula", formula,
        {{"switch", BalanceFormula::kSwitch}, {"hf", BalanceFormula::kHuggingFace}},
        {.help = "Load-balance formula: switch is 1 when balanced; hf is Hugging Face's, "
                 "top-k when balanced."});
    visitor.choice("scope", scope,
                   {{"sequence", BalanceScope::kSequence},
                    {"micro_batch", BalanceScope::kMicroBatch},
                    {"global", BalanceScope::kGlobal}},
                   {.help = "Tokens over which expert counts are taken: a sequence, a micro-batch "
                            "of one rank, or the whole step."});
    visitor.option("coef", coef,
                   {.help = "Weight of the load-balance term in the gradient; null takes "
                            "model.router_aux_loss_coef.",
                    .minimum = 0.0});
  }
};

struct CapacityOptions {
  std::optional<double> factor;  ///< none: dropless
  CapacityGroup group = CapacityGroup::kSequence;
  DropPolicy policy = DropPolicy::kPosition;

  template <typename Visitor>
  void describe(Visitor& visitor) {
    visitor.option(
        "factor", factor,
        {.help = "An expert takes at most ceil(factor * tokens * top_k / experts) choices "
                 "of a group in training; null drops nothing.",
         .above = 0.0});
    visitor.choice(
        "group", group,
        {{"sequence", CapacityGroup::kSequence}, {"micro_batch", CapacityGroup::kMicroBatch}},
        {.help = "Tokens that share one capacity; a sequence drops the same choices in "
                 "every layout."});
    visitor.choice(
        "policy", policy,
        {{"position", DropPolicy::kPosition}, {"probability", DropPolicy::kProbability}},
        {.help = "Who stays in a full expert: earlier tokens, or larger router weights."});
  }
};

struct MoeOptions {
  LoadBalanceOptions load_balance;
  std::optional<double> router_z_loss_coef = 0.001;
  CapacityOptions capacity;
  DispatcherKind dispatcher = DispatcherKind::kAuto;

  template <typename Visitor>
  void describe(Visitor& visitor) {
    visitor.section("load_balance", load_balance,
                    "Auxiliary loss that keeps the experts evenly used.");
    visitor.option("router_z_loss_coef", router_z_loss_coef,
                   {.help = "Weight of the router z-loss (mean squared logsumexp of the router "
                            "logits); null leaves it out.",
                    .minimum = 0.0});
    visitor.section("capacity", capacity, "Upper bound on the tokens an expert takes in training.");
    visitor.choice("dispatcher", dispatcher,
                   {{"auto", DispatcherKind::kAuto},
                    {"local", DispatcherKind::kLocal},
                    {"all_to_all", DispatcherKind::kAllToAll}},
                   {.help = "How rows reach their experts: auto is local on one expert rank, else "
                            "all_to_all.",
                    .may_change_on_resume = true});
  }
};

}  // namespace moesaic::moe
