// Routing on the CPU: the K best experts of a token by insertion, its weights in the same visit.
//
// Shape letters: kernels/ops.h.
#include <ATen/Dispatch.h>
#include <ATen/OpMathType.h>
#include <ATen/Parallel.h>
#include <torch/library.h>

#include <cmath>

#include "kernels/cpu/exponential.h"

namespace moesaic::kernels::cpu {
namespace {

constexpr int64_t kTokensPerTask = 64;

// NaN is greater than every number, as in at::sort: whatever the logits, the ids are valid.
template <class Value>
bool greater(Value a, Value b) {
  return a > b || (std::isnan(a) && !std::isnan(b));
}

// The top_k largest of `scores`, best first; equal scores keep the order of their ids.
template <class Value>
void choose_experts(const Value* scores, int64_t num_experts, int64_t top_k, int64_t* expert_idx) {
  int64_t num_chosen = 0;
  for (int64_t e = 0; e < num_experts; ++e) {
    if (num_chosen == top_k && !greater(scores[e], scores[expert_idx[top_k - 1]])) {
      continue;
    }
    int64_t place = num_chosen < top_k ? num_chosen++ : top_k - 1;
    for (; place > 0 && greater(scores[e], scores[expert_idx[place - 1]]); --place) {
      expert_idx[place] = expert_idx[place - 1];
    }
    expert_idx[place] = e;
  }
}

template <class Value>
void divide_by_sum(Value* values, int64_t size) {
  Value sum = 0;
  for (int64_t i = 0; i < size; ++i) {
    sum += values[i];
  }
  for (int64_t i = 0; i < size; ++i) {
    values[i] /= sum;
  }
}

template <class Value>
void weigh_choices(const Value* scores, const Value* probs, const int64_t* expert_idx,
                   int64_t top_k, bool softmax_before_top_k, bool norm_topk_prob, Value* weights) {
  for (int64_t k = 0; k < top_k; ++k) {
    const int64_t e = expert_idx[k];
    weights[k] = softmax_before_top_k ? probs[e] : exponential(scores[e] - scores[expert_idx[0]]);
  }
  if (!softmax_before_top_k || norm_topk_prob) {
    divide_by_sum(weights, top_k);
  }
}

// The probability of the best expert is exp(s - s) / sum: one over the sum, and at least 1 / E.
template <class Value>
Value logsumexp(Value best_score, Value best_prob) {
  return std::isinf(best_score) ? best_score : best_score - std::log(best_prob);
}

std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor> route_tokens_cpu(
    const at::Tensor& logits_TE, int64_t top_k, bool softmax_before_top_k, bool norm_topk_prob) {
  const int64_t num_tokens = logits_TE.size(0);
  const int64_t num_experts = logits_TE.size(1);
  const auto scores_TE = logits_TE.to(at::toOpMathType(logits_TE.scalar_type())).contiguous();
  const auto probs_TE = at::softmax(scores_TE, -1);
  const auto weights_TK = at::empty({num_tokens, top_k}, scores_TE.options());
  const auto expert_idx_TK = at::empty({num_tokens, top_k}, scores_TE.options().dtype(at::kLong));
  const auto logsumexp_T = at::empty({num_tokens}, scores_TE.options());
  AT_DISPATCH_FLOATING_TYPES(scores_TE.scalar_type(), "route_tokens_cpu", [&] {
    const auto* scores = scores_TE.const_data_ptr<scalar_t>();
    const auto* probs = probs_TE.const_data_ptr<scalar_t>();
    auto* weights = weights_TK.mutable_data_ptr<scalar_t>();
    auto* expert_idx = expert_idx_TK.mutable_data_ptr<int64_t>();
    auto* logsumexps = logsumexp_T.mutable_data_ptr<scalar_t>();
    at::parallel_for(0, num_tokens, kTokensPerTask, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        choose_experts(scores + t * num_experts, num_experts, top_k, expert_idx + t * top_k);
        weigh_choices(scores + t * num_experts, probs + t * num_experts, expert_idx + t * top_k,
                      top_k, softmax_before_top_k, norm_topk_prob, weights + t * top_k);
        const int64_t best = t * num_experts + expert_idx[t * top_k];
        logsumexps[t] = logsumexp(scores[best], probs[best]);
      }
    });
  });
  return {expert_idx_TK, weights_TK, probs_TE, logsumexp_T};
}

template <class Value>
Value dot(const Value* a, const Value* b, int64_t size) {
  Value sum = 0;
  for (int64_t i = 0; i < size; ++i) {
    sum += a[i] * b[i];
  }
  return sum;
}

// With p the probabilities, w the weights, g = dL/dp, l = dL/dlogsumexp: dL/dlogits = p (g - <p, g>
// + l). The weights add dL/dw to g at the chosen experts; renormalised ones (dL/dw - <dL/dw, w>) /
// sum of chosen p. A softmax over the chosen logits alone adds w (dL/dw - <dL/dw, w>) to the logits
// instead.
template <class Value>
void token_backward(const Value* grad_weights, Value grad_logsumexp, const Value* weights,
                    const int64_t* expert_idx, int64_t top_k, const Value* probs,
                    int64_t num_experts, bool softmax_before_top_k, bool norm_topk_prob,
                    Value* grad) {
  const bool sums_to_one = norm_topk_prob || !softmax_before_top_k;
  const Value mean = grad_weights && sums_to_one ? dot(grad_weights, weights, top_k) : Value(0);
  if (grad_weights && softmax_before_top_k) {
    Value chosen = norm_topk_prob ? Value(0) : Value(1);
    for (int64_t k = 0; norm_topk_prob && k < top_k; ++k) {
      chosen += probs[expert_idx[k]];
    }
    for (int64_t k = 0; k < top_k; ++k) {
      grad[expert_idx[k]] += (grad_weights[k] - mean) / chosen;
    }
  }
  const Value shift = dot(probs, grad, num_experts) - grad_logsumexp;
  for (int64_t e = 0; e < num_experts; ++e) {
    grad[e] = probs[e] * (grad[e] - shift);
  }
  if (grad_weights && !softmax_before_top_k) {
    for (int64_t k = 0; k < top_k; ++k) {
      grad[expert_idx[k]] += weights[k] * (grad_weights[k] - mean);
    }
  }
}

at::Tensor route_tokens_backward_cpu(const std::optional<at::Tensor>& grad_weights_TK,
                                     const std::optional<at::Tensor>& grad_probs_TE,
                                     const std::optional<at::Tensor>& grad_logsumexp_T,
                                     const at::Tensor& expert_idx_TK, const at::Tensor& weights_TK,
                                     const at::Tensor& probs_TE, bool softmax_before_top_k,
                                     bool norm_topk_prob) {
  const int64_t num_experts = probs_TE.size(1);
  const int64_t top_k = expert_idx_TK.size(1);
  // Starts as the gradient of the probabilities, ends as that of the logits.
  const auto grad_TE = grad_probs_TE.has_value()
                           ? grad_probs_TE->clone(at::MemoryFormat::Contiguous)
                           : at::zeros_like(probs_TE);
  const auto grad_weights =
      grad_weights_TK.has_value() ? grad_weights_TK->contiguous() : at::Tensor();
  const auto grad_logsumexp =
      grad_logsumexp_T.has_value() ? grad_logsumexp_T->contiguous() : at::Tensor();
  AT_DISPATCH_FLOATING_TYPES(probs_TE.scalar_type(), "route_tokens_backward_cpu", [&] {
    const auto* grad_weights_ptr =
        grad_weights.defined() ? grad_weights.const_data_ptr<scalar_t>() : nullptr;
    const auto* grad_logsumexp_ptr =
        grad_logsumexp.defined() ? grad_logsumexp.const_data_ptr<scalar_t>() : nullptr;
    const auto* expert_idx = expert_idx_TK.const_data_ptr<int64_t>();
    const auto* weights = weights_TK.const_data_ptr<scalar_t>();
    const auto* probs = probs_TE.const_data_ptr<scalar_t>();
    auto* grad = grad_TE.mutable_data_ptr<scalar_t>();
    at::parallel_for(0, probs_TE.size(0), kTokensPerTask, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        token_backward(grad_weights_ptr ? grad_weights_ptr + t * top_k : nullptr,
                       grad_logsumexp_ptr ? grad_logsumexp_ptr[t] : scalar_t(0),
                       weights + t * top_k, expert_idx + t * top_k, top_k, probs + t * num_experts,
                       num_experts, softmax_before_top_k, norm_topk_prob, grad + t * num_experts);
      }
    });
  });
  return grad_TE;
}

}  // namespace
}  // namespace moesaic::kernels::cpu

TORCH_LIBRARY_IMPL(moesaic, CPU, m) {
  m.impl("route_tokens", &moesaic::kernels::cpu::route_tokens_cpu);
  m.impl("route_tokens_backward", &moesaic::kernels::cpu::route_tokens_backward_cpu);
}
