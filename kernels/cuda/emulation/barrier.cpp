// __syncthreads and its relatives: all threads of the block, at the same place of the source.
#include <cstring>

#include "kernels/cuda/emulation/block.h"

namespace moesaic::kernels::cuda::emulation {
namespace {

const char* name_of(BarrierKind kind) {
  switch (kind) {
    case BarrierKind::kPlain:
      return "__syncthreads";
    case BarrierKind::kCount:
      return "__syncthreads_count";
    case BarrierKind::kAnd:
      return "__syncthreads_and";
    case BarrierKind::kOr:
      return "__syncthreads_or";
  }
  return "a barrier";
}

}  // namespace

int Block::barrier(BarrierKind kind, int predicate, Site site) {
  if (num_exited_ > 0) {
    fault(std::string(name_of(kind)) + " after " + thread_name(first_exited_) + " has ended", site);
  }
  BarrierState& state = barrier_;
  const unsigned phase = state.phase & 1;
  if (state.num_arrived == 0) {
    state.first_thread = current_;
    state.kind = kind;
    state.site = site;
    state.num_true = 0;
    state.order[phase].release_first();
  } else {
    if (kind != state.kind || !is_same(site, state.site)) {
      fault("divergent barrier: " + std::string(name_of(kind)) + " here, but " +
                thread_name(state.first_thread) + " waits in " + name_of(state.kind) + " at " +
                place(state.site),
            site);
    }
    state.order[phase].release();
  }
  state.num_true += predicate != 0;
  if (++state.num_arrived < num_threads_) {
    wait(name_of(kind), 0, site);
  } else {
    state.results[phase] = kind == BarrierKind::kAnd  ? state.num_true == num_threads_
                           : kind == BarrierKind::kOr ? state.num_true > 0
                                                      : state.num_true;
    state.num_arrived = 0;
    ++state.phase;
    got_on();
    for (int w = 0; w * kWarpSize < num_threads_; ++w) {
      make_runnable(w, warps_[w].lanes);
    }
    order_->passed_barrier();
    hand_over();
  }
  state.order[phase].acquire();
  return state.results[phase];
}

}  // namespace moesaic::kernels::cuda::emulation
