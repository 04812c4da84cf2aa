// A warp a token: its lanes hold the logits, and every choice is one arg-max over the warp of what
// ranks behind the choice before it. No list of what is taken, no comparison of probabilities.
//
// Shape letters: kernels/ops.h.
#include "kernels/cuda/route_tokens.h"

#include <cmath>
#include <stdexcept>
#include <string>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/ordered_bits.h"
#include "kernels/cuda/warp_reduce.h"

namespace moesaic::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kTokensPerBlock = kThreads / kWarpSize;

__device__ float exponential(float x) {
  return expf(x);
}
__device__ double exponential(double x) {
  return exp(x);
}

__device__ float natural_logarithm(float x) {
  return logf(x);
}
__device__ double natural_logarithm(double x) {
  return log(x);
}

// The lane's share of a token's logits, e = lane, lane + 32, ...: as ordered bits in registers.
template <class T, int num_per_lane>
struct Scores {
  using Value = Accumulate<T>;
  using Key = OrderedBits<Value>;

  Key keys[num_per_lane];
  uint32_t num_experts;

  __device__ Scores(const T* logits, uint32_t num_experts) : num_experts(num_experts) {
#pragma unroll
    for (int j = 0; j < num_per_lane; ++j) {
      const uint32_t e = id(j);
      keys[j] = e < num_experts ? ordered_bits(widen(logits[e])) : Key(0);
    }
  }

  __device__ static uint32_t id(int j) {
    return static_cast<uint32_t>(j * kWarpSize + lane_idx());
  }

  // visit(key, id) for each, ids ascending.
  template <class Visit>
  __device__ void for_each(Visit visit) const {
#pragma unroll
    for (int j = 0; j < num_per_lane; ++j) {
      if (id(j) < num_experts) {
        visit(keys[j], id(j));
      }
    }
  }
};

// Too many for registers: read again at every visit.
template <class T>
struct Scores<T, 0> {
  using Value = Accumulate<T>;
  using Key = OrderedBits<Value>;

  const T* logits;
  uint32_t num_experts;

  __device__ Scores(const T* logits, uint32_t num_experts)
      : logits(logits), num_experts(num_experts) {}

  template <class Visit>
  __device__ void for_each(Visit visit) const {
    for (uint32_t e = static_cast<uint32_t>(lane_idx()); e < num_experts; e += kWarpSize) {
      visit(ordered_bits(widen(logits[e])), e);
    }
  }
};

// The best of the experts that rank behind `previous`; there must be one.
template <class TokenScores, class Key = typename TokenScores::Key>
__device__ Ranked<Key> next_choice(const TokenScores& scores, const Ranked<Key>& previous,
                                   bool is_first) {
  Ranked<Key> best{Key(0), UINT32_MAX};
  scores.for_each([&](Key key, uint32_t id) {
    const Ranked<Key> candidate{key, id};
    if (key > best.key && (is_first || ranks_behind(candidate, previous))) {
      best = candidate;
    }
  });
  return warp_arg_max(best);
}

}  // namespace

// probs[e] = exp(s[e] - max) / sum. The weights are these at the chosen experts, bit for bit, or
// exp(s - max) divided by its sum over the chosen; sums over the chosen run in order of choice.
template <class T, int num_per_lane>
__global__ void __launch_bounds__(kThreads, 1)
    route_tokens_kernel(const T* __restrict__ logits_TE, RouteShape shape,
                        int64_t* __restrict__ expert_idx_TK, Accumulate<T>* weights_TK,
                        Accumulate<T>* __restrict__ probs_TE, Accumulate<T>* logsumexp_T,
                        int32_t* nan_found) {
  using Value = Accumulate<T>;
  using Key = OrderedBits<Value>;
  const int lane = lane_idx();
  const bool weights_sum_to_one = shape.norm_topk_prob || !shape.softmax_before_top_k;
  const int64_t stride = int64_t{gridDim.x} * kTokensPerBlock;
  for (int64_t t = int64_t{blockIdx.x} * kTokensPerBlock + threadIdx.x / kWarpSize;
       t < shape.num_tokens; t += stride) {
    const Scores<T, num_per_lane> scores(logits_TE + t * shape.num_experts,
                                         static_cast<uint32_t>(shape.num_experts));
    Ranked<Key> choice = next_choice(scores, Ranked<Key>{}, /*is_first=*/true);
    const Value max = value_of_ordered_bits(choice.key);
    Value sum = 0;
    scores.for_each(
        [&](Key key, uint32_t) { sum += exponential(value_of_ordered_bits(key) - max); });
    sum = warp_sum(sum);
    Value* const probs = probs_TE + t * shape.num_experts;
    scores.for_each([&](Key key, uint32_t e) {
      probs[e] = exponential(value_of_ordered_bits(key) - max) / sum;
    });
    if (lane == 0) {
      if (logsumexp_T != nullptr) {
        const bool is_infinite = max == Value(INFINITY) || max == -Value(INFINITY);
        logsumexp_T[t] = is_infinite ? max : max + natural_logarithm(sum);
      }
      if (sum != sum) {
        atomicOr(nan_found, 1);
      }
    }

    int64_t* const expert_idx = expert_idx_TK + t * shape.top_k;
    Value* const weights = weights_TK + t * shape.top_k;
    // Choice k is kept by lane k % 32 and stored with its 31 neighbours.
    Ranked<Key> mine = choice;
    Value my_weight = 0;
    Value sum_of_weights = 0;
    for (int64_t k = 0; k < shape.top_k; ++k) {
      if (k > 0) {
        choice = next_choice(scores, choice, /*is_first=*/false);
      }
      Value weight = exponential(value_of_ordered_bits(choice.key) - max);
      if (shape.softmax_before_top_k) {
        weight /= sum;
      }
      sum_of_weights += weight;
      const int place = static_cast<int>(k % kWarpSize);
      if (place == lane) {
        mine = choice;
        my_weight = weight;
      }
      const bool is_last = k + 1 == shape.top_k;
      if ((place == kWarpSize - 1 || is_last) && lane <= place) {
        const int64_t my_k = k - place + lane;
        expert_idx[my_k] = mine.id;
        weights[my_k] = is_last && weights_sum_to_one ? my_weight / sum_of_weights : my_weight;
      }
    }
    // The choices before the last 32 were stored by this same lane when the sum was not known.
    const int64_t num_stored_early = (shape.top_k - 1) / kWarpSize * kWarpSize;
    for (int64_t k = lane; weights_sum_to_one && k < num_stored_early; k += kWarpSize) {
      weights[k] /= sum_of_weights;
    }
  }
}
MOESAIC_KERNEL(route_tokens_kernel)

// With p the probabilities, w the weights, g = dL/dp, l = dL/dlogsumexp: dL/dlogits = p (g - <p, g>
// + l). The weights add d = dL/dw to g at the chosen experts; renormalised ones (d - <d, w>) / sum
// of the chosen p. A softmax over the chosen logits alone adds w (d - <d, w>) to the logits
// instead.
template <class Value>
__global__ void __launch_bounds__(kThreads, sizeof(Value) == sizeof(float) ? 3 : 1)
    route_tokens_backward_kernel(const Value* __restrict__ grad_weights_TK,
                                 const Value* __restrict__ grad_probs_TE,
                                 const Value* __restrict__ grad_logsumexp_T,
                                 const int64_t* __restrict__ expert_idx_TK,
                                 const Value* __restrict__ weights_TK,
                                 const Value* __restrict__ probs_TE, RouteShape shape,
                                 Value* grad_logits_TE) {
  const int lane = lane_idx();
  const int64_t num_experts = shape.num_experts;
  const int64_t top_k = shape.top_k;
  const bool weights_sum_to_one = shape.norm_topk_prob || !shape.softmax_before_top_k;
  const int64_t stride = int64_t{gridDim.x} * kTokensPerBlock;
  for (int64_t t = int64_t{blockIdx.x} * kTokensPerBlock + threadIdx.x / kWarpSize;
       t < shape.num_tokens; t += stride) {
    const int64_t* const expert_idx = expert_idx_TK + t * top_k;
    const Value* const weights = weights_TK + t * top_k;
    const Value* const probs = probs_TE + t * num_experts;
    const Value* const grad_weights =
        grad_weights_TK == nullptr ? nullptr : grad_weights_TK + t * top_k;
    const auto grad_prob = [&](int64_t e) {
      return grad_probs_TE == nullptr ? Value(0) : grad_probs_TE[t * num_experts + e];
    };

    Value mean = 0;
    Value chosen = 0;
    if (grad_weights != nullptr && weights_sum_to_one) {
      for (int64_t k = lane; k < top_k; k += kWarpSize) {
        mean = fused_multiply_add(grad_weights[k], weights[k], mean);
        chosen += probs[expert_idx[k]];
      }
      mean = warp_sum(mean);
      chosen = warp_sum(chosen);
    }
    // What choice k adds to the gradient of its probability; after top-k, over w to its logit.
    const auto added = [&](int64_t k) {
      const Value centred = grad_weights[k] - mean;
      return shape.norm_topk_prob && shape.softmax_before_top_k ? centred / chosen : centred;
    };

    Value shift = 0;
    if (grad_probs_TE != nullptr) {
      for (int64_t e = lane; e < num_experts; e += kWarpSize) {
        shift = fused_multiply_add(probs[e], grad_prob(e), shift);
      }
    }
    if (grad_weights != nullptr && shape.softmax_before_top_k) {
      for (int64_t k = lane; k < top_k; k += kWarpSize) {
        shift = fused_multiply_add(probs[expert_idx[k]], added(k), shift);
      }
    }
    shift = warp_sum(shift);
    if (grad_logsumexp_T != nullptr) {
      shift -= grad_logsumexp_T[t];
    }

    Value* const grad = grad_logits_TE + t * num_experts;
    for (int64_t e = lane; e < num_experts; e += kWarpSize) {
      grad[e] = probs[e] * (grad_prob(e) - shift);
    }
    if (grad_weights != nullptr) {
      __syncwarp();  // the chosen elements are written again, by other lanes
      for (int64_t k = lane; k < top_k; k += kWarpSize) {
        const int64_t e = expert_idx[k];
        grad[e] = shape.softmax_before_top_k
                      ? probs[e] * (grad_prob(e) + added(k) - shift)
                      : fused_multiply_add(weights[k], added(k), probs[e] * (grad_prob(e) - shift));
      }
    }
  }
}
MOESAIC_KERNEL(route_tokens_backward_kernel)

namespace {

void check_shape(const RouteShape& shape) {
  if (shape.num_tokens < 0 || shape.num_experts < 1 || shape.num_experts > INT32_MAX ||
      shape.top_k < 1 || shape.top_k > shape.num_experts) {
    throw std::invalid_argument(
        "route_tokens: impossible sizes: " + std::to_string(shape.num_tokens) + " tokens, " +
        std::to_string(shape.num_experts) + " experts, top_k " + std::to_string(shape.top_k));
  }
}

// The kernel whose registers hold the logits of a token.
template <class T>
auto route_tokens_kernel_for(int64_t num_experts) {
  if (num_experts <= 64) {
    return &route_tokens_kernel<T, 2>;
  }
  if (num_experts <= 128) {
    return &route_tokens_kernel<T, 4>;
  }
  if (num_experts <= 256) {
    return &route_tokens_kernel<T, 8>;
  }
  if (num_experts <= 512) {
    return &route_tokens_kernel<T, 16>;
  }
  return num_experts <= 1024 ? &route_tokens_kernel<T, 32> : &route_tokens_kernel<T, 0>;
}

}  // namespace

template <class T>
void route_tokens(const T* logits_TE, const RouteShape& shape, int64_t* expert_idx_TK,
                  Accumulate<T>* weights_TK, Accumulate<T>* probs_TE, Accumulate<T>* logsumexp_T,
                  int32_t* nan_found, cudaStream_t stream, int64_t max_blocks) {
  check_shape(shape);
  if (shape.num_tokens == 0) {
    return;
  }
  launch(route_tokens_kernel_for<T>(shape.num_experts),
         row_grid(shape.num_tokens, kTokensPerBlock, max_blocks), dim3(kThreads), 0, stream,
         logits_TE, shape, expert_idx_TK, weights_TK, probs_TE, logsumexp_T, nan_found);
}

template <class Value>
void route_tokens_backward(const Value* grad_weights_TK, const Value* grad_probs_TE,
                           const Value* grad_logsumexp_T, const int64_t* expert_idx_TK,
                           const Value* weights_TK, const Value* probs_TE, const RouteShape& shape,
                           Value* grad_logits_TE, cudaStream_t stream, int64_t max_blocks) {
  check_shape(shape);
  if (shape.num_tokens == 0) {
    return;
  }
  launch(&route_tokens_backward_kernel<Value>,
         row_grid(shape.num_tokens, kTokensPerBlock, max_blocks), dim3(kThreads), 0, stream,
         grad_weights_TK, grad_probs_TE, grad_logsumexp_T, expert_idx_TK, weights_TK, probs_TE,
         shape, grad_logits_TE);
}

#define MOESAIC_INSTANTIATE(T)                                                         \
  template void route_tokens<T>(const T*, const RouteShape&, int64_t*, Accumulate<T>*, \
                                Accumulate<T>*, Accumulate<T>*, int32_t*, cudaStream_t, int64_t);
MOESAIC_INSTANTIATE(float)
MOESAIC_INSTANTIATE(double)
MOESAIC_INSTANTIATE(__nv_bfloat16)
MOESAIC_INSTANTIATE(__half)
#undef MOESAIC_INSTANTIATE

#define MOESAIC_INSTANTIATE(Value)                                                       \
  template void route_tokens_backward<Value>(const Value*, const Value*, const Value*,   \
                                             const int64_t*, const Value*, const Value*, \
                                             const RouteShape&, Value*, cudaStream_t, int64_t);
MOESAIC_INSTANTIATE(float)
MOESAIC_INSTANTIATE(double)
#undef MOESAIC_INSTANTIATE

}  // namespace moesaic::kernels::cuda
