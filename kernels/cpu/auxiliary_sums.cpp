// The sums of the auxiliary terms on the CPU: ATen's sum, which adds in float64 when told to.
#include <ATen/Functions.h>
#include <torch/library.h>

namespace moesaic::kernels::cpu {
namespace {

std::tuple<at::Tensor, at::Tensor> auxiliary_sums_cpu(const at::Tensor& probs_TE,
                                                      const at::Tensor& logsumexp_T,
                                                      int64_t tokens_per_group) {
  const int64_t num_groups = probs_TE.size(0) / tokens_per_group;
  const auto squares_T = logsumexp_T.to(at::kDouble).square();
  return {probs_TE.reshape({num_groups, tokens_per_group, probs_TE.size(1)})
              .sum({1}, /*keepdim=*/false, at::kDouble),
          squares_T.reshape({num_groups, tokens_per_group}).sum(1)};
}

}  // namespace
}  // namespace moesaic::kernels::cpu

TORCH_LIBRARY_IMPL(moesaic, CPU, m) {
  m.impl("auxiliary_sums", &moesaic::kernels::cpu::auxiliary_sums_cpu);
}
