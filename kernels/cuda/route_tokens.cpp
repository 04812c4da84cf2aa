// Routing on CUDA tensors. No read on the host: the reference takes NaN logits as they come, and so
// does this; the loss that they lead to tells.
#include "kernels/cuda/route_tokens.h"

#include <ATen/Functions.h>
#include <ATen/OpMathType.h>
#include <torch/library.h>

#include <optional>

#include "kernels/cuda/stream.h"
#include "kernels/cuda/tensor_pointers.h"

namespace moesaic::kernels::cuda {
namespace {

std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor> route_tokens_cuda(
    const at::Tensor& logits_TE, int64_t top_k, bool softmax_before_top_k, bool norm_topk_prob) {
  const OnDeviceOf device(logits_TE);
  const auto logits = logits_TE.contiguous();
  const RouteShape shape{.num_tokens = logits.size(0),
                         .num_experts = logits.size(1),
                         .top_k = top_k,
                         .softmax_before_top_k = softmax_before_top_k,
                         .norm_topk_prob = norm_topk_prob};
  const auto values = logits.options().dtype(at::toOpMathType(logits.scalar_type()));
  const auto probs_TE = at::empty(logits.sizes(), values);
  const auto weights_TK = at::empty({shape.num_tokens, top_k}, values);
  const auto logsumexp_T = at::empty({shape.num_tokens}, values);
  const auto expert_idx_TK = at::empty({shape.num_tokens, top_k}, values.dtype(at::kLong));
  const auto nan_found = at::empty({1}, values.dtype(at::kInt));  // nobody reads it
  MOESAIC_DISPATCH_ELEMENTS(logits.scalar_type(), "route_tokens_cuda", [&] {
    using T = DeviceElement<scalar_t>;
    route_tokens(pointer_to<T>(logits), shape, mutable_pointer_to<int64_t>(expert_idx_TK),
                 mutable_pointer_to<Accumulate<T>>(weights_TK),
                 mutable_pointer_to<Accumulate<T>>(probs_TE),
                 mutable_pointer_to<Accumulate<T>>(logsumexp_T),
                 mutable_pointer_to<int32_t>(nan_found), device.stream());
  });
  return {expert_idx_TK, weights_TK, probs_TE, logsumexp_T};
}

at::Tensor route_tokens_backward_cuda(const std::optional<at::Tensor>& grad_weights_TK,
                                      const std::optional<at::Tensor>& grad_probs_TE,
                                      const std::optional<at::Tensor>& grad_logsumexp_T,
                                      const at::Tensor& expert_idx_TK, const at::Tensor& weights_TK,
                                      const at::Tensor& probs_TE, bool softmax_before_top_k,
                                      bool norm_topk_prob) {
  const OnDeviceOf device(probs_TE);
  const auto contiguous = [](const std::optional<at::Tensor>& grad) {
    return grad.has_value() ? grad->contiguous() : at::Tensor();
  };
  const auto grad_weights = contiguous(grad_weights_TK);
  const auto grad_probs = contiguous(grad_probs_TE);
  const auto grad_logsumexp = contiguous(grad_logsumexp_T);
  const auto expert_idx = expert_idx_TK.contiguous();
  const auto weights = weights_TK.contiguous();
  const auto probs = probs_TE.contiguous();
  const RouteShape shape{.num_tokens = probs.size(0),
                         .num_experts = probs.size(1),
                         .top_k = expert_idx.size(1),
                         .softmax_before_top_k = softmax_before_top_k,
                         .norm_topk_prob = norm_topk_prob};
  const auto grad_logits_TE = at::empty(probs.sizes(), probs.options());
  AT_DISPATCH_FLOATING_TYPES(probs.scalar_type(), "route_tokens_backward_cuda", [&] {
    route_tokens_backward(pointer_to<scalar_t>(grad_weights), pointer_to<scalar_t>(grad_probs),
                          pointer_to<scalar_t>(grad_logsumexp), pointer_to<int64_t>(expert_idx),
                          pointer_to<scalar_t>(weights), pointer_to<scalar_t>(probs), shape,
                          mutable_pointer_to<scalar_t>(grad_logits_TE), device.stream());
  });
  return grad_logits_TE;
}

}  // namespace
}  // namespace moesaic::kernels::cuda

TORCH_LIBRARY_IMPL(moesaic, MOESAIC_CUDA_KEY, m) {
  m.impl("route_tokens", &moesaic::kernels::cuda::route_tokens_cuda);
  m.impl("route_tokens_backward", &moesaic::kernels::cuda::route_tokens_backward_cuda);
}
