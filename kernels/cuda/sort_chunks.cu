// One block turns the counts into a table of where each chunk begins, before and after; then each
// row of the result finds its chunk by binary search and copies its source.
//
// Shape letters: kernels/ops.h; A outer and B inner chunks of the input.
#include "kernels/cuda/sort_chunks.h"

#include "kernels/cuda/block_scan.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/vector_access.h"

namespace moesaic::kernels::cuda {
namespace {

constexpr int kTableThreads = 256;

/// Calls place(i, value(0) + ... + value(i - 1)) for every i < size and returns the whole sum.
/// Each thread owns a run of neighbours. To be called by all kTableThreads threads.
template <class Value, class Place>
__device__ int64_t exclusive_scan(int64_t size, int64_t* warp_sums, Value value, Place place) {
  const int64_t run = (size + kTableThreads - 1) / kTableThreads;
  const int64_t begin = min(threadIdx.x * run, size);
  const int64_t end = min(begin + run, size);
  int64_t own = 0;
  for (int64_t i = begin; i < end; ++i) {
    own += value(i);
  }
  const BlockSum<int64_t> sum = block_scan<kTableThreads>(own, warp_sums);
  int64_t before = sum.before;
  for (int64_t i = begin; i < end; ++i) {
    place(i, before);
    before += value(i);
  }
  return sum.all;
}

}  // namespace

/// One block of kTableThreads. begin_BA [A B + 1]: where chunk (b, a) begins in the result, and the
/// number of rows; source_begin_BA [A B]: where it begins in the input.
__global__ void chunk_table_kernel(const int64_t* counts_AB, int64_t num_outer, int64_t num_inner,
                                   int64_t* begin_BA, int64_t* source_begin_BA) {
  __shared__ int64_t warp_sums[kTableThreads / kWarpSize];
  const int64_t num_chunks = num_outer * num_inner;
  const auto input_position = [&](int64_t chunk) {  // of result chunk b * A + a
    return chunk % num_outer * num_inner + chunk / num_outer;
  };
  exclusive_scan(
      num_chunks, warp_sums, [&](int64_t i) { return counts_AB[i]; },
      [&](int64_t i, int64_t begin) {
        source_begin_BA[i % num_inner * num_outer + i / num_inner] = begin;
      });
  const int64_t num_rows = exclusive_scan(
      num_chunks, warp_sums, [&](int64_t i) { return counts_AB[input_position(i)]; },
      [&](int64_t i, int64_t begin) { begin_BA[i] = begin; });
  if (threadIdx.x == 0) {
    begin_BA[num_chunks] = num_rows;
  }
}
MOESAIC_KERNEL(chunk_table_kernel)

/// Block: lanes x rows (row_block). A row is row_units units (vector_access.h).
template <class Unit>
__global__ void sort_chunks_kernel(const Unit* rows_RD, const int64_t* begin_BA,
                                   const int64_t* source_begin_BA, int64_t num_chunks,
                                   int64_t num_rows, int64_t row_units, Unit* sorted_RD) {
  constexpr int kUnitsInFlight = 4;
  const int64_t row_stride = static_cast<int64_t>(gridDim.x) * blockDim.y;
  const int64_t end = min(num_rows, begin_BA[num_chunks]);
  for (int64_t r = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y; r < end;
       r += row_stride) {
    // The last chunk that begins at or before r; empty chunks begin where the next one does.
    int64_t chunk = 0;
    for (int64_t past = num_chunks; past - chunk > 1;) {
      const int64_t middle = chunk + (past - chunk) / 2;
      (begin_BA[middle] <= r ? chunk : past) = middle;
    }
    const int64_t source = source_begin_BA[chunk] + (r - begin_BA[chunk]);
#pragma unroll 1
    for (int64_t first = threadIdx.x; first < row_units; first += kUnitsInFlight * blockDim.x) {
      Unit units[kUnitsInFlight];
#pragma unroll
      for (int i = 0; i < kUnitsInFlight; ++i) {
        const int64_t unit = first + i * blockDim.x;
        if (unit < row_units) {
          units[i] = rows_RD[source * row_units + unit];
        }
      }
#pragma unroll
      for (int i = 0; i < kUnitsInFlight; ++i) {
        const int64_t unit = first + i * blockDim.x;
        if (unit < row_units) {
          sorted_RD[r * row_units + unit] = units[i];
        }
      }
    }
  }
}
MOESAIC_KERNEL(sort_chunks_kernel)

void sort_chunks(const void* rows_RD, const int64_t* counts_AB, int64_t num_outer,
                 int64_t num_inner, int64_t num_rows, int64_t row_bytes, void* sorted_RD,
                 int64_t* table, cudaStream_t stream, int64_t max_blocks) {
  const int64_t num_chunks = num_outer * num_inner;
  if (num_chunks == 0 || num_rows == 0 || row_bytes == 0) {
    return;
  }
  int64_t* begin_BA = table;
  int64_t* source_begin_BA = table + num_chunks + 1;
  launch(chunk_table_kernel, dim3(1), dim3(kTableThreads), /*dynamic_shared_bytes=*/0, stream,
         counts_AB, num_outer, num_inner, begin_BA, source_begin_BA);
  with_largest_unit(row_bytes, {rows_RD, sorted_RD}, [&](auto unit) {
    using Unit = decltype(unit);
    const int64_t row_units = row_bytes / static_cast<int64_t>(sizeof(Unit));
    const dim3 block = row_block(row_units);
    launch(sort_chunks_kernel<Unit>, row_grid(num_rows, block.y, max_blocks), block,
           /*dynamic_shared_bytes=*/0, stream, static_cast<const Unit*>(rows_RD), begin_BA,
           source_begin_BA, num_chunks, num_rows, row_units, static_cast<Unit*>(sorted_RD));
  });
}

}  // namespace moesaic::kernels::cuda
