// How rows of a matrix are laid over blocks and threads.
//
// A block is lanes x rows: lanes side by side take units of one row, so that neighbouring threads
// touch neighbouring bytes; narrow rows share a block. Blocks stride over the rows, so any grid
// visits all of them: its size is a matter of speed, never of the result.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>

namespace moesaic::kernels::cuda {

/// Blocks of one launch unless the caller says otherwise; more rows are taken in turns.
inline constexpr int64_t kMaxBlocks = 65536;

inline constexpr int kWarpSize = 32;
inline constexpr unsigned kRowBlockThreads = 256;

/// Threads of a block over rows of `units` units: as many lanes as units, rounded up to a power of
/// two in [32, 256], times as many rows as make 256 threads.
inline dim3 row_block(int64_t units) {
  unsigned lanes = kWarpSize;
  while (lanes < kRowBlockThreads && lanes < units) {
    lanes *= 2;
  }
  return {lanes, kRowBlockThreads / lanes};
}

/// Blocks for `num_rows` rows at `rows_per_block`, at least 1 and at most max_blocks.
inline dim3 row_grid(int64_t num_rows, int64_t rows_per_block, int64_t max_blocks) {
  const int64_t needed = (num_rows + rows_per_block - 1) / rows_per_block;
  return {static_cast<unsigned>(std::clamp<int64_t>(needed, 1, std::max<int64_t>(max_blocks, 1)))};
}

}  // namespace moesaic::kernels::cuda
