// Head and loss on the CPU (kernels/cross_entropy_chunks.h): the logits of a token are visited
// three times, in the cache.
//
// Shape letters: kernels/ops.h; t: the tokens of a chunk.
#include <ATen/Dispatch.h>
#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/cpu/exponential.h"
#include "kernels/cross_entropy_chunks.h"
#include "kernels/ops.h"

namespace moesaic::kernels::cpu {
namespace {

void check_targets(const at::Tensor& targets_T, int64_t vocabulary) {
  const auto* targets = targets_T.const_data_ptr<int64_t>();
  for (int64_t t = 0; t < targets_T.size(0); ++t) {
    TORCH_CHECK_INDEX(targets[t] == kIgnoredTarget || (targets[t] >= 0 && targets[t] < vocabulary),
                      "linear_cross_entropy: targets_T[", t, "] is ", targets[t], ", not in [0, ",
                      vocabulary, ") and not ", kIgnoredTarget);
  }
}

// -log softmax(logits)[target]; with `gradient` the logits become softmax(logits) -
// one_hot(target).
template <class Value>
Value token_loss(Value* logits, int64_t vocabulary, int64_t target, bool gradient) {
  if (target == kIgnoredTarget) {
    std::fill_n(logits, vocabulary, Value(0));
    return Value(0);
  }
  Value max = -std::numeric_limits<Value>::infinity();
#pragma omp simd reduction(max : max)
  for (int64_t v = 0; v < vocabulary; ++v) {
    max = logits[v] > max ? logits[v] : max;
  }
  const Value target_logit = logits[target];
  Value sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t v = 0; v < vocabulary; ++v) {
    logits[v] = exponential(logits[v] - max);
    sum += logits[v];
  }
  if (gradient) {
    const Value scale = Value(1) / sum;
#pragma omp simd
    for (int64_t v = 0; v < vocabulary; ++v) {
      logits[v] *= scale;
    }
    logits[target] -= Value(1);
  }
  return std::log(sum) + max - target_logit;
}

// Added in token order.
at::Tensor chunk_loss(at::Tensor& logits_tV, const at::Tensor& targets_t, bool gradient) {
  const int64_t num_tokens = logits_tV.size(0);
  const int64_t vocabulary = logits_tV.size(1);
  const auto* targets = targets_t.const_data_ptr<int64_t>();
  std::vector<double> loss_t(static_cast<size_t>(num_tokens));
  AT_DISPATCH_FLOATING_TYPES(logits_tV.scalar_type(), "linear_cross_entropy_cpu", [&] {
    auto* logits = logits_tV.mutable_data_ptr<scalar_t>();
    at::parallel_for(0, num_tokens, /*grain_size=*/1, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        loss_t[static_cast<size_t>(t)] =
            token_loss(logits + t * vocabulary, vocabulary, targets[t], gradient);
      }
    });
  });
  double loss = 0;
  for (const double token : loss_t) {
    loss += token;
  }
  return at::scalar_tensor(loss, at::kDouble);
}

bool has_counted_target(const at::Tensor& targets_t) {
  const auto* targets = targets_t.const_data_ptr<int64_t>();
  return std::any_of(targets, targets + targets_t.numel(),
                     [](int64_t target) { return target != kIgnoredTarget; });
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> linear_cross_entropy_with_gradients_cpu(
    const at::Tensor& x_TD, const at::Tensor& weight_VD, const at::Tensor& targets_T, bool x_wanted,
    bool weight_wanted) {
  const auto targets = targets_T.contiguous();
  check_targets(targets, weight_VD.size(0));
  return cross_entropy_in_chunks(x_TD, weight_VD, targets, x_wanted, weight_wanted,
                                 {.logits_bytes = int64_t{16} << 20,
                                  .min_tokens = 128,
                                  .has_counted_target = &has_counted_target,
                                  .chunk_loss = &chunk_loss});
}

at::Tensor linear_cross_entropy_cpu(const at::Tensor& x_TD, const at::Tensor& weight_VD,
                                    const at::Tensor& targets_T) {
  return std::get<0>(linear_cross_entropy_with_gradients_cpu(
      x_TD, weight_VD, targets_T, /*x_wanted=*/false, /*weight_wanted=*/false));
}

}  // namespace
}  // namespace moesaic::kernels::cpu

TORCH_LIBRARY_IMPL(moesaic, CPU, m) {
  m.impl("linear_cross_entropy", &moesaic::kernels::cpu::linear_cross_entropy_cpu);
  m.impl("linear_cross_entropy_with_gradients",
         &moesaic::kernels::cpu::linear_cross_entropy_with_gradients_cpu);
}
