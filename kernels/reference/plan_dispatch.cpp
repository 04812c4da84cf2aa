#include "kernels/reference/plan_dispatch.h"

#include <ATen/TensorOperators.h>

namespace moesaic::kernels::reference {
namespace {

// Shape letters as in kernels/ops.h, and N = tokens_per_group * K choices a group.

// How many choices of the same expert come before each one, in the order of the columns.
at::Tensor rank_in_expert(const at::Tensor& expert_idx_GN, int64_t num_experts) {
  const auto one_hot_GNE = at::one_hot(expert_idx_GN, num_experts);
  return (one_hot_GNE.cumsum(1) * one_hot_GNE).sum(-1) - 1;
}

at::Tensor kept_choices(const at::Tensor& expert_idx_GN, const at::Tensor& weights_GN,
                        int64_t num_experts, int64_t capacity, DropPolicy policy) {
  if (policy == DropPolicy::kPosition) {
    return rank_in_expert(expert_idx_GN, num_experts) < capacity;
  }
  const auto order_GN =
      std::get<1>(at::sort(weights_GN, /*stable=*/true, /*dim=*/1, /*descending=*/true));
  const auto kept_in_order_GN =
      rank_in_expert(expert_idx_GN.gather(1, order_GN), num_experts) < capacity;
  return at::empty_like(kept_in_order_GN).scatter_(1, order_GN, kept_in_order_GN);
}

}  // namespace

DispatchPlan plan_dispatch(const at::Tensor& expert_idx_TK, const at::Tensor& weights_TK,
                           int64_t num_experts, int64_t tokens_per_group,
                           std::optional<int64_t> capacity, DropPolicy policy) {
  const int64_t num_choices = expert_idx_TK.numel();
  if (num_choices == 0) {
    const auto options = expert_idx_TK.options();
    const int64_t num_groups = tokens_per_group == 0 ? 0 : expert_idx_TK.size(0) / tokens_per_group;
    return {at::empty({0}, options), at::empty_like(expert_idx_TK),
            at::zeros({num_groups, num_experts}, options), at::zeros({num_experts}, options)};
  }
  const auto expert_idx_GN = expert_idx_TK.reshape({-1, tokens_per_group * expert_idx_TK.size(1)});
  auto kept_GN = at::ones_like(expert_idx_GN, at::kBool);
  if (capacity.has_value()) {
    kept_GN = kept_choices(expert_idx_GN, weights_TK.detach().reshape(expert_idx_GN.sizes()),
                           num_experts, *capacity, policy);
  }
  // Dropped choices sort behind the last expert.
  const auto key = at::where(kept_GN, expert_idx_GN, num_experts).flatten();
  const int64_t num_rows = kept_GN.sum().item<int64_t>();
  const auto source_R = std::get<1>(at::sort(key, /*stable=*/true, /*dim=*/0, /*descending=*/false))
                            .narrow(0, 0, num_rows)
                            .contiguous();
  const auto row_of_choice =
      at::full_like(key, -1).scatter_(0, source_R, at::arange(num_rows, expert_idx_TK.options()));
  return {source_R, row_of_choice.view(expert_idx_TK.sizes()),
          at::one_hot(expert_idx_GN, num_experts).sum(1),
          at::bincount(key, {}, num_experts + 1).narrow(0, 0, num_experts).contiguous()};
}

}  // namespace moesaic::kernels::reference
