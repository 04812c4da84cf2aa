#include "moe/router.h"

#include <ATen/Functions.h>

#include "moe/stateless_random.h"

namespace moesaic::moe {
namespace {

// K different experts a token: the K smallest of E draws, all a function of (seed, layer, token).
at::Tensor uniform_experts(uint64_t seed, int64_t layer_idx, int64_t first_token,
                           int64_t num_tokens, int64_t num_experts, int64_t top_k) {
  const auto key = stream_key(seed, "force_balance", std::to_string(layer_idx));
  auto draws_TE = at::empty({num_tokens, num_experts}, at::kDouble);
  auto* draws = draws_TE.mutable_data_ptr<double>();
  for (int64_t i = 0; i < num_tokens * num_experts; ++i) {
    draws[i] = random_uniform(key, static_cast<uint64_t>(first_token * num_experts + i));
  }
  return std::get<1>(at::topk(draws_TE, top_k, /*dim=*/-1, /*largest=*/false)).contiguous();
}

// Who stays in a full expert: the rank of each weight among those of its group and expert, equal
// where neighbours differ by rounding only. Tokens with equal contexts (a token repeated at the
// start of a sequence, equal starts of two sequences) have mathematically equal weights; without
// this, rounding, which differs between layouts, would decide which of them is dropped instead of
// their position.
at::Tensor drop_priorities(const at::Tensor& weights_TK, const at::Tensor& expert_idx_TK,
                           int64_t tokens_per_group) {
  if (weights_TK.numel() == 0) {
    return weights_TK;
  }
  const double rounding = weights_TK.scalar_type() == at::kDouble ? 1e-10 : 1e-5;
  const int64_t choices_per_group = tokens_per_group * weights_TK.size(1);
  const auto weights_GN = weights_TK.to(at::kDouble).reshape({-1, choices_per_group});
  const auto expert_idx_GN = expert_idx_TK.reshape({-1, choices_per_group});
  // In the order of (expert, weight).
  const auto by_weight_GN = at::argsort(weights_GN, /*stable=*/true, /*dim=*/1);
  const auto by_expert_GN =
      at::argsort(expert_idx_GN.gather(1, by_weight_GN), /*stable=*/true, /*dim=*/1);
  const auto order_GN = by_weight_GN.gather(1, by_expert_GN);
  const auto ascending_GN = weights_GN.gather(1, order_GN);
  const auto is_larger_GN = ascending_GN.diff(1, /*dim=*/1)
                                .gt(ascending_GN.narrow(1, 1, choices_per_group - 1).mul(rounding));
  const auto is_next_expert_GN = expert_idx_GN.gather(1, order_GN).diff(1, /*dim=*/1).ne(0);
  auto rank_GN = at::zeros_like(weights_GN);
  rank_GN.narrow(1, 1, choices_per_group - 1)
      .copy_(is_larger_GN.logical_or(is_next_expert_GN).cumsum(1));
  return at::empty_like(rank_GN).scatter_(1, order_GN, rank_GN).view(weights_TK.sizes());
}

}  // namespace

std::vector<DeclaredParameter> Router::declare(const std::string& prefix,
                                               const std::string& hub_name) {
  return {whole_parameter(prefix + ".router.weight", {options_.num_experts, options_.hidden_size},
                          hub_name, &weight_ED)};
}

// Other experts and weights in place of the router's.
kernels::RoutedTokens Router::forced(const LayerContext& context,
                                     kernels::RoutedTokens routed) const {
  const int64_t num_tokens = routed.probs_TE.size(0);
  const int64_t top_k = options_.route.top_k;
  routed.expert_idx_TK =
      uniform_experts(*options_.force_balance_seed, options_.layer_idx, context.first_token,
                      num_tokens, options_.num_experts, top_k)
          .to(routed.probs_TE.device());
  routed.weights_TK =
      at::full({num_tokens, top_k}, 1.0 / static_cast<double>(top_k), routed.probs_TE.options());
  return routed;
}

Routing Router::operator()(const at::Tensor& x_TD, const LayerContext& context) const {
  const auto dtype = x_TD.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const auto logits_TE = at::linear(x_TD.to(dtype), weight_ED.to(dtype));
  auto routed = kernels::route_tokens(logits_TE, options_.route);
  if (options_.force_balance_seed) {
    routed = forced(context, std::move(routed));
  }
  if (context.training && context.auxiliary != nullptr) {
    routed.weights_TK = context.auxiliary->inject(routed, options_.layer_idx);
  }

  kernels::CapacityOptions capacity;
  int64_t tokens_per_group = std::max<int64_t>(x_TD.size(0), 1);
  if (context.training && options_.capacity.factor) {
    capacity = {.factor = options_.capacity.factor, .policy = options_.capacity.policy};
    if (options_.capacity.group == CapacityGroup::kSequence) {
      tokens_per_group = context.sequence_length;
    }
  }
  auto priorities_TK = routed.weights_TK.detach();
  if (capacity.factor && capacity.policy == kernels::DropPolicy::kProbability) {
    priorities_TK = drop_priorities(priorities_TK, routed.expert_idx_TK, tokens_per_group);
  }
  auto plan = kernels::plan_dispatch(routed.expert_idx_TK, priorities_TK, options_.num_experts,
                                     tokens_per_group, capacity);
  if (context.statistics != nullptr) {
    const int64_t num_dropped = routed.expert_idx_TK.numel() - plan.source_R.numel();
    context.statistics->add(options_.layer_idx, plan.counts_GE.sum(0), num_dropped);
    if (context.statistics->keeps_decisions) {
      context.statistics->decisions.push_back({options_.layer_idx, context.first_token,
                                               routed.expert_idx_TK, plan.row_of_choice_TK.lt(0)});
    }
  }
  return {routed.weights_TK, std::move(plan)};
}

}  // namespace moesaic::moe
