// Chunks of rows from one order into the other on the GPU.
//
// Shape letters: kernels/ops.h; A outer and B inner chunks of the input.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/cuda/grid.h"

namespace moesaic::kernels::cuda {

/// int64 elements of the table that sort_chunks works with.
constexpr int64_t chunk_table_size(int64_t num_outer, int64_t num_inner) {
  return 2 * num_outer * num_inner + 1;
}

/// rows_RD holds chunk (a, b) of counts_AB[a, b] rows after chunk (a, b - 1), all of a after all of
/// a - 1; sorted_RD holds the same chunks, bit for bit, ordered by (b, a). Received rows (rank,
/// expert) become expert-major so; the inverse is the call with the transposed counts, B, A.
///   counts_AB    [A, B] on the device; rows of sorted_RD past their sum are not written
///   table        chunk_table_size(A, B) elements on the device, overwritten: where the chunks
///   begin
/// 16-byte accesses where row_bytes and both pointers are multiples of 16, else the largest unit
/// of 8, 4, 2 or 1 that divides them. Throws std::runtime_error when a launch fails.
/// Cost: a one-block kernel over A B counts; reads and writes R D elements.
void sort_chunks(const void* rows_RD, const int64_t* counts_AB, int64_t num_outer,
                 int64_t num_inner, int64_t num_rows, int64_t row_bytes, void* sorted_RD,
                 int64_t* table, cudaStream_t stream, int64_t max_blocks = kMaxBlocks);

}  // namespace moesaic::kernels::cuda
