// Head and loss on the CPU in chunks of tokens: one buffer of logits, in which a chunk becomes its
// loss and the gradient of its logits.
//
// Shape letters: kernels/ops.h; t: the tokens of a chunk.
#include <ATen/Dispatch.h>
#include <ATen/Functions.h>
#include <ATen/OpMathType.h>
#include <ATen/Parallel.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/cpu/exponential.h"

namespace moesaic::kernels::cpu {
namespace {

constexpr int64_t kIgnoredTarget = -100;
constexpr int64_t kChunkBytes = int64_t{16} << 20;
// Fewer tokens than this would read the head and its gradient from memory once for little work.
constexpr int64_t kMinTokensPerChunk = 128;

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

// Sum of the losses of a chunk, in token order.
double chunk_loss(const at::Tensor& logits_tV, const at::Tensor& targets_t, bool gradient) {
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
  return loss;
}

bool has_counted_target(const at::Tensor& targets_t) {
  const auto* targets = targets_t.const_data_ptr<int64_t>();
  return std::any_of(targets, targets + targets_t.numel(),
                     [](int64_t target) { return target != kIgnoredTarget; });
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> linear_cross_entropy_with_gradients_cpu(
    const at::Tensor& x_TD, const at::Tensor& weight_VD, const at::Tensor& targets_T, bool x_wanted,
    bool weight_wanted) {
  const int64_t num_tokens = x_TD.size(0);
  const int64_t vocabulary = weight_VD.size(0);
  const auto dtype = x_TD.scalar_type();
  const auto logits_dtype = at::toOpMathType(dtype);
  const auto targets = targets_T.contiguous();
  check_targets(targets, vocabulary);

  const auto grad_x_TD = x_wanted ? at::zeros_like(x_TD) : at::Tensor();
  // Summed over the chunks, so in the type of the sum.
  const auto grad_weight_VD = weight_wanted ? at::zeros({vocabulary, weight_VD.size(1)},
                                                        weight_VD.options().dtype(logits_dtype))
                                            : at::Tensor();
  const int64_t row_bytes =
      std::max<int64_t>(vocabulary * static_cast<int64_t>(at::elementSize(logits_dtype)), 1);
  const int64_t tokens_per_chunk =
      std::min(num_tokens, std::max(kChunkBytes / row_bytes, kMinTokensPerChunk));
  const auto buffer_tV =
      at::empty({tokens_per_chunk, vocabulary}, x_TD.options().dtype(logits_dtype));
  double loss = 0;
  for (int64_t begin = 0; begin < num_tokens; begin += tokens_per_chunk) {
    const int64_t size = std::min(tokens_per_chunk, num_tokens - begin);
    const auto targets_t = targets.narrow(0, begin, size);
    if (!has_counted_target(targets_t)) {
      continue;
    }
    const auto x_tD = x_TD.narrow(0, begin, size);
    auto logits_tV = buffer_tV.narrow(0, 0, size);
    if (dtype == logits_dtype) {
      at::mm_out(logits_tV, x_tD, weight_VD.t());
    } else {
      logits_tV.copy_(x_tD.mm(weight_VD.t()));
    }
    loss += chunk_loss(logits_tV, targets_t, x_wanted || weight_wanted);
    const auto grad_logits_tV = logits_tV.to(dtype);
    if (x_wanted) {
      auto grad_x_tD = grad_x_TD.narrow(0, begin, size);
      at::mm_out(grad_x_tD, grad_logits_tV, weight_VD);
    }
    if (weight_wanted && dtype == logits_dtype) {
      grad_weight_VD.addmm_(grad_logits_tV.t(), x_tD);
    } else if (weight_wanted) {
      grad_weight_VD.add_(grad_logits_tV.t().mm(x_tD));
    }
  }
  return {at::scalar_tensor(loss, x_TD.options().dtype(logits_dtype)), grad_x_TD,
          weight_wanted ? grad_weight_VD.to(dtype) : at::Tensor()};
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
