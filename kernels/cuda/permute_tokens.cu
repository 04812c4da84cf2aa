// Token-major: the lanes of a token read its row once and write it once for each kept choice, so
// that a row crosses the memory bus 1 + (kept choices) times rather than twice a choice.
//
// Shape letters: kernels/ops.h.
#include "kernels/cuda/permute_tokens.h"

#include "kernels/cuda/choice_rows.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/vector_access.h"

namespace moesaic::kernels::cuda {

/// Block: lanes x tokens (row_block). A row is row_units units (vector_access.h).
template <class Unit>
__global__ void permute_tokens_kernel(const Unit* x_TD, const int64_t* row_of_choice_TK,
                                      int64_t num_tokens, int64_t top_k, int64_t num_rows,
                                      int64_t row_units, Unit* rows_RD, int* foreign_row) {
  constexpr int kUnitsInFlight = 4;
  constexpr int kChoicesInFlight = 4;
  const int64_t token_stride = static_cast<int64_t>(gridDim.x) * blockDim.y;
  for (int64_t t = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y; t < num_tokens;
       t += token_stride) {
#pragma unroll 1
    for (int64_t first = threadIdx.x; first < row_units; first += kUnitsInFlight * blockDim.x) {
      Unit units[kUnitsInFlight];
#pragma unroll
      for (int i = 0; i < kUnitsInFlight; ++i) {
        const int64_t unit = first + i * blockDim.x;
        if (unit < row_units) {
          units[i] = x_TD[t * row_units + unit];
        }
      }
      for (int64_t k = 0; k < top_k; k += kChoicesInFlight) {
        const auto rows = load_choice_rows<kChoicesInFlight>(row_of_choice_TK + t * top_k + k,
                                                             top_k - k, num_rows, foreign_row);
#pragma unroll
        for (int choice = 0; choice < kChoicesInFlight; ++choice) {
          if (rows.at[choice] < 0) {
            continue;
          }
#pragma unroll
          for (int i = 0; i < kUnitsInFlight; ++i) {
            const int64_t unit = first + i * blockDim.x;
            if (unit < row_units) {
              rows_RD[rows.at[choice] * row_units + unit] = units[i];
            }
          }
        }
      }
    }
  }
}
MOESAIC_KERNEL(permute_tokens_kernel)

void permute_tokens(const void* x_TD, const int64_t* row_of_choice_TK, int64_t num_tokens,
                    int64_t top_k, int64_t num_rows, int64_t row_bytes, void* rows_RD,
                    int* foreign_row, cudaStream_t stream, int64_t max_blocks) {
  if (num_tokens == 0 || top_k == 0 || row_bytes == 0) {
    return;
  }
  with_largest_unit(row_bytes, {x_TD, rows_RD}, [&](auto unit) {
    using Unit = decltype(unit);
    const int64_t row_units = row_bytes / static_cast<int64_t>(sizeof(Unit));
    const dim3 block = row_block(row_units);
    launch(permute_tokens_kernel<Unit>, row_grid(num_tokens, block.y, max_blocks), block,
           /*dynamic_shared_bytes=*/0, stream, static_cast<const Unit*>(x_TD), row_of_choice_TK,
           num_tokens, top_k, num_rows, row_units, static_cast<Unit*>(rows_RD), foreign_row);
  });
}

}  // namespace moesaic::kernels::cuda
