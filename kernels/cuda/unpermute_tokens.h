// Weighted sum back in token order on the GPU, with its backward.
//
// Element types T: float, double, __nv_bfloat16, __half. Shape letters: kernels/ops.h.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/cuda/accumulate.h"
#include "kernels/cuda/grid.h"

namespace moesaic::kernels::cuda {

/// out[t] = sum over k of weights_TK[t, k] * rows[row_of_choice_TK[t, k]], k ascending, products
/// and sums each rounded in Accumulate<T>, once more at the store: the bits of the reference.
///   rows_RD           [num_rows, width]
///   weights_TK        [T, K]; null: a plain sum, the backward of permute_tokens
///   row_of_choice_TK  [T, K]; negative: dropped, adds nothing whatever its weight
///   out_TD            [T, width]; exactly zero for a token without kept choices
///   foreign_row       set to 1 if a choice names a row past the end (skipped), never cleared here;
///                     may be null
/// 16-byte accesses where a row and the pointers are multiples of 16 bytes. Throws
/// std::runtime_error when the launch fails. Cost: reads R D elements, writes T D.
template <class T>
void unpermute_tokens(const T* rows_RD, const Accumulate<T>* weights_TK,
                      const int64_t* row_of_choice_TK, int64_t num_tokens, int64_t top_k,
                      int64_t num_rows, int64_t width, T* out_TD, int* foreign_row,
                      cudaStream_t stream, int64_t max_blocks = kMaxBlocks);

/// Of the weighted unpermute_tokens:
///   grad_rows_RD[row]   = weights_TK[t, k] * grad_out_TD[t], one rounding more at the store
///   grad_weights_TK     = <rows_RD[row], grad_out_TD[t]>, the gate gradient, in Accumulate<T>;
///                         exactly zero for a dropped choice
/// Either may be null: not wanted. Without grad_weights_TK rows_RD is not read and may be null.
/// A row that no choice names is not written. One warp a token: the dot product is the one of
/// kernels/cuda/row_dot.h, the same bits for any grid and any alignment.
/// Cost: reads T D and, for the gate gradient, R D elements; writes R D.
template <class T>
void unpermute_tokens_backward(const T* grad_out_TD, const T* rows_RD,
                               const Accumulate<T>* weights_TK, const int64_t* row_of_choice_TK,
                               int64_t num_tokens, int64_t top_k, int64_t num_rows, int64_t width,
                               T* grad_rows_RD, Accumulate<T>* grad_weights_TK, int* foreign_row,
                               cudaStream_t stream, int64_t max_blocks = kMaxBlocks);

}  // namespace moesaic::kernels::cuda
