// Head and loss on CUDA tensors by ATen (kernels/cross_entropy_chunks.h). One read on the host:
// whether every target is in the vocabulary.
//
// Shape letters: kernels/ops.h; t: the tokens of a chunk.
#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <torch/library.h>

#include "kernels/cross_entropy_chunks.h"
#include "kernels/cuda/stream.h"
#include "kernels/ops.h"

namespace moesaic::kernels::cuda {
namespace {

void check_targets(const at::Tensor& targets_T, int64_t vocabulary) {
  const auto is_foreign_T = targets_T.ne(kIgnoredTarget)
                                .logical_and(targets_T.lt(0).logical_or(targets_T.ge(vocabulary)));
  TORCH_CHECK_INDEX(!is_foreign_T.any().item<bool>(),
                    "linear_cross_entropy: a target is not in [0, ", vocabulary, ") and not ",
                    kIgnoredTarget);
}

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
  check_targets(targets_T, weight_VD.size(0));
  return cross_entropy_in_chunks(
      x_TD, weight_VD, targets_T, x_wanted, weight_wanted,
      {.logits_bytes = int64_t{256} << 20, .min_tokens = 512, .chunk_loss = &chunk_loss});
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
