// The auxiliary load-balancing loss and the router z-loss, entered by gradient injection at the
// layer where they arise: an identity forward, an added gradient backward. Their values go to the
// log.
//
// Shapes: T tokens, E experts, K choices a token, G groups, L layers with a router.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/ops.h"
#include "moe/moe_options.h"
#include "parallel/communicator.h"
#include "parallel/fault_injection.h"

namespace moesaic::moe {

/// The global batch of one optimiser step, known before its first forward.
struct StepShape {
  int64_t num_sequences = 1;          ///< of the global batch
  int64_t sequence_length = 1;        ///< positions, padding included
  int64_t micro_batch_sequences = 1;  ///< sequences in one micro-batch
  int64_t num_tokens() const { return num_sequences * sequence_length; }
};

/// What the balance terms were, already weighted for a mean over groups and layers: the sum over
/// all data ranks is the value.
struct AuxiliaryValues {
  double load_balance = 0.0;  ///< before its coefficient
  double router_z = 0.0;      ///< before its coefficient
};

struct BalanceCounts;

/// Accumulates over the micro-batches of a step on one rank.
///
/// `formula: switch` (Switch Transformer, 2101.03961, eq. 4-6, over K choices; MegaBlocks and
/// OLMoE):
///   E / (K T) * sum_e n_e pbar_e of a group of T tokens, mean over groups, then over layers.
/// `formula: hf`: E * sum_e f_e p_e over the concatenation of all layers, no 1/K (transformers'
///   load_balancing_loss_func). pbar_e: mean softmax probability of e; n_e: choices before
///   dropping.
/// z-loss (ST-MoE, 2202.08906, eq. 5): mean of logsumexp(logits)^2 over tokens, then over layers.
class AuxiliaryLosses {
 public:
  /// data: the ranks that share the global batch. fault: may be null.
  AuxiliaryLosses(const MoeOptions& options, int64_t num_layers, int64_t num_experts, int64_t top_k,
                  parallel::CommunicatorPtr data, parallel::FaultInjection* fault);

  /// Forgets the previous step.
  void begin_step(const StepShape& shape);

  /// Returns routed.weights_TK; the backward of the result adds the gradients of coef * loss, to
  /// probs_TE for the load balance and to logsumexp_T for the router z-loss. layer_idx counts the
  /// layers with a router.
  at::Tensor inject(const kernels::RoutedTokens& routed, int64_t layer_idx);

  /// Between the last forward and the first backward. For `scope: global` and `formula: hf` the
  /// counts are summed over the data ranks here (all of them must call); otherwise does nothing.
  void finish_forward();

  /// This rank's share of the values; to be called after finish_forward of the last micro-batch.
  AuxiliaryValues local_values() const;

 private:
  bool counts_wait_for_all() const;
  int64_t tokens_per_group() const;
  double gradient_scale() const;
  double router_z_scale() const;
  std::shared_ptr<BalanceCounts> add_counts(const at::Tensor& counts_GE, int64_t layer_idx);

  LoadBalanceOptions options_;
  double coef_;
  double router_z_loss_coef_;
  int64_t num_layers_;
  int64_t num_experts_;
  int64_t top_k_;
  parallel::CommunicatorPtr data_;
  parallel::FaultInjection* fault_;

  StepShape shape_;
  /// One for each injection whose values are still to be summed.
  struct Injection {
    std::shared_ptr<BalanceCounts> counts;
    kernels::AuxiliarySums sums;
  };
  std::vector<Injection> injections_;
  std::vector<std::shared_ptr<BalanceCounts>> waiting_;  // [L] or one for all layers (hf)
  at::Tensor previous_counts_GE_;                        // only read by the fault stale_count
};

}  // namespace moesaic::moe
