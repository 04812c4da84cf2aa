// Deliberate numerical faults (debug.fault), so that every guard is seen to fire.
//
// The owner of each place asks fire(kind) there; a fault that was asked for and never fired is an
// error of configuration (hits stays 0 on the rank that should have been hit).
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "parallel/communicator.h"

namespace moesaic::parallel {

struct FaultInjection {
  enum class Kind {
    none,
    scale_gradient,      // one gradient doubled
    drop_row,            // one dispatched row zeroed
    skip_reduce,         // one bucket not reduced
    stale_count,         // auxiliary counts of the previous group
    double_aux,          // auxiliary gradient injected twice
    corrupt_all_to_all,  // one element of one exchange changed, after the comparison of the
                         // partners
    nan_loss,            // the loss of a micro-batch is not a number
  };

  Kind kind = Kind::none;
  /// Set on the last rank of a parallel run; never in a reference.
  bool active = false;
  /// How often the fault took effect on this rank.
  std::atomic<int64_t> hits = 0;

  /// True (and counted) where the fault of this kind is to be committed. Any thread.
  bool fire(Kind at_this_place) {
    if (!active || kind == Kind::none || kind != at_this_place) {
      return false;
    }
    ++hits;
    return true;
  }
};

/// `inner`, but the first all_to_all_v that brings this rank a floating-point element from another
/// rank gets one of these changed by 1000 max(1, |value|), silently: when the Work is waited for,
/// so after the comparison of the partners. Returns `inner` itself unless `fault` is an active
/// corrupt_all_to_all. In a group of size 1 nothing is ever hit. Splits of it are not corrupted.
CommunicatorPtr inject_corruption(CommunicatorPtr inner, std::shared_ptr<FaultInjection> fault);

}  // namespace moesaic::parallel
