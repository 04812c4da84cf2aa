// Dot products of rows on the GPU: the gate gradient without the experts' results.
//
// Element types T: float, double, __nv_bfloat16, __half. Shape letters: kernels/ops.h.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/cuda/accumulate.h"
#include "kernels/cuda/grid.h"

namespace moesaic::kernels::cuda {

/// out_R[r] = <a_RF[r], b_RF[r]> in Accumulate<T>.
///
/// Use: with y = W a the result of a row's expert, the gate gradient <y, g> of a row whose token
/// has the gradient g equals <a, W^T g> (the identity of SonicMoE, 2512.14080). So the backward
/// that has dA' = W^T g anyway gets the gate gradient from it and from the activation a alone, and
/// y [R, D] need not be kept. Equal as numbers, not as bits: the rounding differs. Choices take
/// their gradients as unpermute_tokens takes rows of width one: by row_of_choice, zero if dropped.
///
/// The order of the sum, here and in unpermute_tokens_backward, is a property of F and T: lane l of
/// a warp adds the 16-byte packs l, l + 32, ... element by element, each product fused; then the
/// lanes are added by warp_sum. Neither the grid nor the alignment of the pointers changes a bit.
/// Throws std::runtime_error when the launch fails. Cost: reads 2 R F elements.
template <class T>
void row_dot(const T* a_RF, const T* b_RF, int64_t num_rows, int64_t width, Accumulate<T>* out_R,
             cudaStream_t stream, int64_t max_blocks = kMaxBlocks);

}  // namespace moesaic::kernels::cuda
