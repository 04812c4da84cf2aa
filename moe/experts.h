// The experts of one rank: SwiGLU feed-forward networks over runs of rows. Knows no rank but the
// numbers of its experts, and no token.
// Shapes: R rows, D model width, F expert width, e experts of this rank.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "moe/parameter.h"

namespace moesaic::moe {

/// Experts [begin, end) of one rank of `num_ranks`: contiguous, sizes differ by at most one.
struct ExpertRange {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t size() const { return end - begin; }
};
ExpertRange expert_range(int64_t rank, int64_t num_ranks, int64_t num_experts);

struct ExpertsOptions {
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t first_expert = 0;       ///< number of this rank's first expert
  int64_t num_local_experts = 0;  ///< experts of this rank, consecutive
};

class Experts {
 public:
  explicit Experts(ExpertsOptions options) : options_(options) {}

  /// hub_prefix: e.g. "model.layers.0.mlp.experts."; each expert's gate_proj, up_proj and down_proj
  /// are runs of the local parameters. Split over the mesh axis "expert".
  std::vector<DeclaredParameter> declare(const std::string& prefix, const std::string& hub_prefix);

  /// y = down(silu(gate(x)) * up(x)) for each run. rows_RD [R, D], num_rows_e int64 on the CPU.
  at::Tensor operator()(const at::Tensor& rows_RD, const at::Tensor& num_rows_e) const;

  at::Tensor gate_up_proj_e2FD;  ///< rows [0, F) gate, rows [F, 2F) up
  at::Tensor down_proj_eDF;

 private:
  ExpertsOptions options_;
};

}  // namespace moesaic::moe
