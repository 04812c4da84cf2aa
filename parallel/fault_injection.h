// debug.fault: one thing that is broken on purpose, so that every guard is seen to fire.
#pragma once

#include <atomic>
#include <cstdint>

namespace moesaic::parallel {

struct FaultInjection {
  enum class Kind {
    none,
    scale_gradient,      ///< one gradient is doubled
    drop_row,            ///< one dispatched row is zeroed
    skip_reduce,         ///< one bucket of gradients is not reduced
    stale_count,         ///< load-balance counts of the previous group
    double_aux,          ///< the load-balance gradient is injected twice
    corrupt_all_to_all,  ///< one element of one exchange is changed on the way
  };

  Kind kind = Kind::none;
  bool active = false;  ///< this is the last rank of a parallel run
  std::atomic<int64_t> hits{0};

  /// True when `asked` is to be broken here and now; counts the hit.
  bool fire(Kind asked) {
    if (!active || asked != kind) {
      return false;
    }
    ++hits;
    return true;
  }
};

}  // namespace moesaic::parallel
