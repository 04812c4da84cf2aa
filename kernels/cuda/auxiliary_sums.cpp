// The sums of the auxiliary terms on CUDA tensors. No read on the host.
#include "kernels/cuda/auxiliary_sums.h"

#include <ATen/Functions.h>
#include <torch/library.h>

#include "kernels/cuda/stream.h"
#include "kernels/cuda/tensor_pointers.h"

namespace moesaic::kernels::cuda {
namespace {

std::tuple<at::Tensor, at::Tensor> auxiliary_sums_cuda(const at::Tensor& probs_TE,
                                                       const at::Tensor& logsumexp_T,
                                                       int64_t tokens_per_group) {
  const OnDeviceOf device(probs_TE);
  const auto probs = probs_TE.contiguous();
  const auto logsumexp = logsumexp_T.contiguous();
  const TokenGroups groups{.num_groups = probs.size(0) / tokens_per_group,
                           .tokens_per_group = tokens_per_group,
                           .num_experts = probs.size(1)};
  const auto sums = probs.options().dtype(at::kDouble);
  const auto partials = at::empty({groups.num_partials()}, sums);
  const auto prob_sums_GE = at::empty({groups.num_groups, groups.num_experts}, sums);
  const auto logsumexp_squares_G = at::empty({groups.num_groups}, sums);
  AT_DISPATCH_FLOATING_TYPES(probs.scalar_type(), "auxiliary_sums_cuda", [&] {
    auxiliary_sums(pointer_to<scalar_t>(probs), pointer_to<scalar_t>(logsumexp), groups,
                   mutable_pointer_to<double>(partials), mutable_pointer_to<double>(prob_sums_GE),
                   mutable_pointer_to<double>(logsumexp_squares_G), device.stream());
  });
  return {prob_sums_GE, logsumexp_squares_G};
}

}  // namespace
}  // namespace moesaic::kernels::cuda

TORCH_LIBRARY_IMPL(moesaic, MOESAIC_CUDA_KEY, m) {
  m.impl("auxiliary_sums", &moesaic::kernels::cuda::auxiliary_sums_cuda);
}
