// Head and loss on CUDA tensors, in chunks of tokens by ATen: the logits of a chunk become the
// gradient of its logits in place. One read on the host: whether every target is in the vocabulary.
//
// Shape letters: kernels/ops.h; t: the tokens of a chunk.
#include <ATen/Functions.h>
#include <ATen/OpMathType.h>
#include <ATen/TensorOperators.h>
#include <torch/library.h>

#include <algorithm>

#include "kernels/cuda/stream.h"

namespace moesaic::kernels::cuda {
namespace {

constexpr int64_t kIgnoredTarget = -100;
constexpr int64_t kChunkBytes = int64_t{256} << 20;
constexpr int64_t kMinTokensPerChunk = 512;

void check_targets(const at::Tensor& targets_T, int64_t vocabulary) {
  const auto is_foreign_T = targets_T.ne(kIgnoredTarget)
                                .logical_and(targets_T.lt(0).logical_or(targets_T.ge(vocabulary)));
  TORCH_CHECK_INDEX(!is_foreign_T.any().item<bool>(),
                    "linear_cross_entropy: a target is not in [0, ", vocabulary, ") and not ",
                    kIgnoredTarget);
}

// Sum of -log softmax(logits)[target] over the counted targets, float64; with `gradient` the logits
// become softmax(logits) - one_hot(target), zero for targets that are not counted.
at::Tensor chunk_loss(at::Tensor& logits_tV, const at::Tensor& targets_t, bool gradient) {
  const auto is_ignored_t1 = targets_t.eq(kIgnoredTarget).unsqueeze(1);
  const auto target_t1 = targets_t.clamp_min(0).unsqueeze(1);
  const auto logsumexp_t1 = at::logsumexp(logits_tV, {1}, /*keepdim=*/true);
  const auto loss_t1 =
      (logsumexp_t1 - logits_tV.gather(1, target_t1)).masked_fill(is_ignored_t1, 0);
  const auto loss = loss_t1.sum(at::kDouble);
  if (gradient) {
    logits_tV.sub_(logsumexp_t1).exp_();
    logits_tV.scatter_(1, target_t1, logits_tV.gather(1, target_t1) - 1);
    logits_tV.masked_fill_(is_ignored_t1, 0);
  }
  return loss;
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> linear_cross_entropy_with_gradients_cuda(
    const at::Tensor& x_TD, const at::Tensor& weight_VD, const at::Tensor& targets_T, bool x_wanted,
    bool weight_wanted) {
  const OnDeviceOf device(x_TD);
  const int64_t num_tokens = x_TD.size(0);
  const int64_t vocabulary = weight_VD.size(0);
  const auto dtype = x_TD.scalar_type();
  const auto logits_dtype = at::toOpMathType(dtype);
  check_targets(targets_T, vocabulary);

  const auto grad_x_TD = x_wanted ? at::empty_like(x_TD) : at::Tensor();
  // Summed over the chunks, so in the type of the sum.
  const auto grad_weight_VD =
      weight_wanted ? at::zeros(weight_VD.sizes(), weight_VD.options().dtype(logits_dtype))
                    : at::Tensor();
  const auto loss = at::zeros({}, x_TD.options().dtype(at::kDouble));
  const int64_t row_bytes =
      std::max<int64_t>(vocabulary * static_cast<int64_t>(at::elementSize(logits_dtype)), 1);
  const int64_t tokens_per_chunk = std::max(kChunkBytes / row_bytes, kMinTokensPerChunk);
  for (int64_t begin = 0; begin < num_tokens; begin += tokens_per_chunk) {
    const int64_t size = std::min(tokens_per_chunk, num_tokens - begin);
    const auto x_tD = x_TD.narrow(0, begin, size);
    auto logits_tV = x_tD.mm(weight_VD.t()).to(logits_dtype);
    loss.add_(chunk_loss(logits_tV, targets_T.narrow(0, begin, size), x_wanted || weight_wanted));
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
  return {loss.to(logits_dtype), grad_x_TD,
          weight_wanted ? grad_weight_VD.to(dtype) : at::Tensor()};
}

at::Tensor linear_cross_entropy_cuda(const at::Tensor& x_TD, const at::Tensor& weight_VD,
                                     const at::Tensor& targets_T) {
  return std::get<0>(linear_cross_entropy_with_gradients_cuda(
      x_TD, weight_VD, targets_T, /*x_wanted=*/false, /*weight_wanted=*/false));
}

}  // namespace
}  // namespace moesaic::kernels::cuda

TORCH_LIBRARY_IMPL(moesaic, MOESAIC_CUDA_KEY, m) {
  m.impl("linear_cross_entropy", &moesaic::kernels::cuda::linear_cross_entropy_cuda);
  m.impl("linear_cross_entropy_with_gradients",
         &moesaic::kernels::cuda::linear_cross_entropy_with_gradients_cuda);
}
