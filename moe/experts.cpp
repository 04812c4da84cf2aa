#include "moe/experts.h"

#include "kernels/ops.h"

namespace moesaic::moe {
namespace {

std::optional<at::Tensor> main_gradient(const at::Tensor& parameter) {
  return parameter.grad().defined() ? std::optional(parameter.grad()) : std::nullopt;
}

}  // namespace

ExpertRange expert_range(int64_t rank, int64_t num_ranks, int64_t num_experts) {
  return {rank * num_experts / num_ranks, (rank + 1) * num_experts / num_ranks};
}

std::vector<DeclaredParameter> Experts::declare(const std::string& prefix,
                                                const std::string& hub_prefix) {
  const int64_t num_experts = options_.num_local_experts;
  const int64_t hidden = options_.hidden_size;
  const int64_t inner = options_.intermediate_size;
  const int64_t numel = hidden * inner;

  DeclaredParameter gate_up;
  gate_up.spec = {prefix + ".experts.gate_up_proj",
                  {num_experts, 2 * inner, hidden},
                  /*replicated_over=*/"expert_data",
                  /*sharded_over=*/"expert",
                  &gate_up_proj_e2FD};
  DeclaredParameter down;
  down.spec = {prefix + ".experts.down_proj",
               {num_experts, hidden, inner},
               /*replicated_over=*/"expert_data",
               /*sharded_over=*/"expert",
               &down_proj_eDF};
  for (int64_t i = 0; i < num_experts; ++i) {
    const auto hub = hub_prefix + std::to_string(options_.first_expert + i);
    gate_up.slices.push_back(
        {{hub + ".gate_proj.weight", {inner, hidden}}, 0, 2 * i * numel, numel});
    gate_up.slices.push_back(
        {{hub + ".up_proj.weight", {inner, hidden}}, 0, (2 * i + 1) * numel, numel});
    down.slices.push_back({{hub + ".down_proj.weight", {hidden, inner}}, 0, i * numel, numel});
  }
  return {gate_up, down};
}

at::Tensor Experts::operator()(const at::Tensor& rows_RD, const at::Tensor& num_rows_e) const {
  // Weight gradients go straight into the main gradients (`.grad` is a view of the store's buffer).
  const auto gate_up_R2F = kernels::grouped_gemm(rows_RD, gate_up_proj_e2FD, num_rows_e,
                                                 main_gradient(gate_up_proj_e2FD));
  return kernels::grouped_gemm(kernels::gated_activation(gate_up_R2F), down_proj_eDF, num_rows_e,
                               main_gradient(down_proj_eDF));
}

}  // namespace moesaic::moe
