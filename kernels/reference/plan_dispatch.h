// The dispatch plan in plain ATen: ranks by a cumulative sum of one-hot rows, rows by a stable
// sort. O(T K E): the specification, not the way to run it.
#pragma once

#include "kernels/ops.h"

namespace moesaic::kernels::reference {

/// See kernels::plan_dispatch; `capacity` is C, absent where nothing is dropped.
DispatchPlan plan_dispatch(const at::Tensor& expert_idx_TK, const at::Tensor& weights_TK,
                           int64_t num_experts, int64_t tokens_per_group,
                           std::optional<int64_t> capacity, DropPolicy policy);

}  // namespace moesaic::kernels::reference
