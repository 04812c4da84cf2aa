// Token rows into expert order on the GPU. The backward is the unweighted unpermute_tokens.
//
// Shape letters: kernels/ops.h.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/cuda/grid.h"

namespace moesaic::kernels::cuda {

/// Copies row t of x_TD to the row of each kept choice of token t, bit for bit.
///   x_TD              [T, D] in rows of row_bytes, elements of any size
///   row_of_choice_TK  [T, K]; negative: dropped, skipped
///   rows_RD           [num_rows, D]; a row that no choice names is not written
///   foreign_row       set to 1 if a choice names a row past the end (skipped), never cleared here;
///                     may be null
/// 16-byte accesses where row_bytes and both pointers are multiples of 16, else the largest unit
/// of 8, 4, 2 or 1 that divides them. Throws std::runtime_error when the launch fails.
/// Cost: reads T D elements once, writes R D.
void permute_tokens(const void* x_TD, const int64_t* row_of_choice_TK, int64_t num_tokens,
                    int64_t top_k, int64_t num_rows, int64_t row_bytes, void* rows_RD,
                    int* foreign_row, cudaStream_t stream, int64_t max_blocks = kMaxBlocks);

}  // namespace moesaic::kernels::cuda
