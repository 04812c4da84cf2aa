#include "moe/model/rotary_embedding.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>

namespace moesaic::moe {

RotaryTable make_rotary_table(int64_t num_positions, int64_t head_dim, double theta,
                              const at::TensorOptions& options) {
  const auto angle = options.dtype(at::kDouble);
  const auto exponents = at::arange(0, head_dim, 2, angle).div(static_cast<double>(head_dim));
  const auto frequencies = at::pow(theta, exponents).reciprocal();
  const auto angles = at::outer(at::arange(num_positions, angle), frequencies);
  const auto both_halves = at::cat({angles, angles}, -1);
  return {both_halves.cos().to(options), both_halves.sin().to(options)};
}

at::Tensor apply_rotary(const at::Tensor& x_BHSd, const RotaryTable& table) {
  const auto halves = x_BHSd.chunk(2, -1);
  const auto rotated_BHSd = at::cat({halves[1].neg(), halves[0]}, -1);
  return x_BHSd * table.cos_Sd + rotated_BHSd * table.sin_Sd;
}

}  // namespace moesaic::moe
