#include "kernels/reference/route_tokens.h"

#include <ATen/Functions.h>
#include <ATen/OpMathType.h>
#include <ATen/TensorOperators.h>

namespace moesaic::kernels::reference {

RoutedTokens route_tokens(const at::Tensor& logits_TE, const RouteOptions& options) {
  const auto scores_TE = logits_TE.to(at::toOpMathType(logits_TE.scalar_type()));
  // Chosen by logits, not by probabilities: rounding in the softmax can make neither a tie nor an
  // order that the logits do not have, so every device chooses the same experts.
  const auto order_TE =
      std::get<1>(at::sort(scores_TE.detach(), /*stable=*/true, /*dim=*/-1, /*descending=*/true));
  const auto expert_idx_TK = order_TE.narrow(-1, 0, options.top_k).contiguous();
  const auto probs_TE = at::softmax(scores_TE, -1);
  auto weights_TK = options.softmax_before_top_k
                        ? probs_TE.gather(-1, expert_idx_TK)
                        : at::softmax(scores_TE.gather(-1, expert_idx_TK), -1);
  if (options.softmax_before_top_k && options.norm_topk_prob) {
    weights_TK = weights_TK / weights_TK.sum(-1, /*keepdim=*/true);
  }
  return {expert_idx_TK, weights_TK, probs_TE, at::logsumexp(scores_TE, -1)};
}

}  // namespace moesaic::kernels::reference
