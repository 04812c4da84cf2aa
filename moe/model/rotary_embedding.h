// Rotary position embedding (RoFormer, 2104.09864) in the half-rotation layout of Hugging Face.
// Shapes: B sequences, H heads, S positions, d head dimension.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace moesaic::moe {

/// Angles of positions 0 .. S-1: frequency i is theta^(-2i/d), i < d/2.
struct RotaryTable {
  at::Tensor cos_Sd;  ///< both halves hold the same d/2 values
  at::Tensor sin_Sd;
};

/// options: max(float32, dtype of the activations), and their device. Angles are computed in
/// float64.
RotaryTable make_rotary_table(int64_t num_positions, int64_t head_dim, double theta,
                              const at::TensorOptions& options);

/// x_BHSd * cos + rotate_half(x_BHSd) * sin. Differentiable.
at::Tensor apply_rotary(const at::Tensor& x_BHSd, const RotaryTable& table);

}  // namespace moesaic::moe
