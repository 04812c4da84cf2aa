// One run of a layout case on the ranks of a mesh, and its comparison with the run of one rank:
// integers exactly, numbers by the bound of *equal* (float64).
//
// Shapes: B sequences, S positions, K choices a token.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "parallel/communicator.h"
#include "parallel/fault_injection.h"
#include "tests/trainer/layout_cases.h"
#include "trainer/training_state.h"

namespace moesaic::tests {

/// A run of elements of a hub tensor in the memory of one rank.
struct HubPiece {
  int64_t tensor_offset = 0;
  at::Tensor values;  ///< flat copy
};
using HubPieces = std::map<std::string, HubPiece>;

struct StepRun {
  trainer::StepMetrics metrics;
  std::vector<moe::RoutingDecision> decisions;  ///< of this rank's tokens
};

/// What one rank has seen and holds.
struct LayoutRun {
  bool attention_has_one_key = false;  ///< as in LayoutCase
  std::vector<StepRun> steps;          ///< kNumUpdates
  HubPieces gradients;                 ///< of the first step, reduced and clipped
  HubPieces weights;                   ///< after the updates
  HubPieces exp_avg;
  HubPieces exp_avg_sq;
};

/// Trains the case on all ranks of `world` (layout.world_size() of them; collective).
/// fault: may be null.
LayoutRun run_layout(const LayoutCase& layout_case, const Layout& layout,
                     const parallel::CommunicatorPtr& world,
                     const std::shared_ptr<parallel::FaultInjection>& fault = nullptr);

/// The same on one rank: computed once in a process for each case and micro-batch size. Any thread.
const LayoutRun& reference_run(const LayoutCase& layout_case, int64_t micro_batch_size);

/// One line for each quantity of `actual` (a rank's part) that is not equal, or not exact.
std::vector<std::string> differences(const LayoutRun& actual, const LayoutRun& reference);

/// Like differences, but every number must have the same bits.
std::vector<std::string> different_bits(const LayoutRun& actual, const LayoutRun& other);

/// Runs the layout and expects no difference on any rank, identical replicas, and that the ranks
/// together hold every tensor of the checkpoint. Collective.
void expect_equal_to_one_rank(const LayoutCase& layout_case, const Layout& layout,
                              const parallel::CommunicatorPtr& world);

}  // namespace moesaic::tests
