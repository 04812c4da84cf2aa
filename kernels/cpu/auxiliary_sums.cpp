// Sums of the routing probabilities on the CPU: ATen's sum, which adds in float64 when told to.
#include <ATen/Functions.h>
#include <torch/library.h>

namespace moesaic::kernels::cpu {
namespace {

at::Tensor sum_probs_cpu(const at::Tensor& probs_TE, int64_t tokens_per_group) {
  const int64_t num_groups = probs_TE.size(0) / tokens_per_group;
  return probs_TE.reshape({num_groups, tokens_per_group, probs_TE.size(1)})
      .sum({1}, /*keepdim=*/false, at::kDouble);
}

}  // namespace
}  // namespace moesaic::kernels::cpu

TORCH_LIBRARY_IMPL(moesaic, CPU, m) {
  m.impl("sum_probs", &moesaic::kernels::cpu::sum_probs_cpu);
}
