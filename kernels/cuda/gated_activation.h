// SwiGLU on the GPU, forward and backward each in one pass.
//
// Element types T: float, double, __nv_bfloat16, __half. Shape letters: kernels/ops.h.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/cuda/grid.h"

namespace moesaic::kernels::cuda {

/// out = silu(gate) * up (2002.05202, eq. 6), in Accumulate<T>, one rounding at the store.
///   gate_up_R2F  [num_rows, 2 width], each row [gate | up]
///   out_RF       [num_rows, width]
/// 16-byte accesses where half a row and the pointers are multiples of 16 bytes. Throws
/// std::runtime_error when the launch fails. Cost: reads 2 R F elements, writes R F.
template <class T>
void gated_activation(const T* gate_up_R2F, int64_t num_rows, int64_t width, T* out_RF,
                      cudaStream_t stream, int64_t max_blocks = kMaxBlocks);

/// Gradient of both halves; the sigmoid is computed again, so that only the input is kept.
///   grad_gate_up_R2F  [num_rows, 2 width]: grad_out * up * s * (1 + gate * (1 - s)), with
///                     s = sigmoid(gate), and grad_out * gate * s
/// Cost: reads 3 R F elements, writes 2 R F.
template <class T>
void gated_activation_backward(const T* grad_out_RF, const T* gate_up_R2F, int64_t num_rows,
                               int64_t width, T* grad_gate_up_R2F, cudaStream_t stream,
                               int64_t max_blocks = kMaxBlocks);

}  // namespace moesaic::kernels::cuda
