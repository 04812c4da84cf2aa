// Column sums in two kernels: runs of tokens, then the runs of a group in order. The squares of
// logsumexp are one more column, number E.
//
// Shape letters: kernels/ops.h, P runs of kTokensPerPartial tokens of one group.
#include "kernels/cuda/auxiliary_sums.h"

#include <algorithm>

#include "kernels/cuda/launch.h"

namespace moesaic::kernels::cuda {
namespace {

constexpr int kColumns = kWarpSize;
constexpr int kRows = 8;
constexpr int kThreads = kColumns * kRows;

}  // namespace

// Block: 32 columns x 8 rows. Row y adds the tokens y, y + 8, ... of a run; row 0 adds the rows.
template <class Value>
__global__ void __launch_bounds__(kThreads)
    sum_runs_kernel(const Value* __restrict__ probs_TE, const Value* __restrict__ logsumexp_T,
                    TokenGroups groups, bool with_squares, int64_t partials_per_group,
                    double* __restrict__ partials) {
  __shared__ double row_sums[kRows][kColumns];
  const int64_t num_experts = groups.num_experts;
  const int64_t num_columns = num_experts + (with_squares ? 1 : 0);
  const int64_t num_runs = groups.num_groups * partials_per_group;
  const int64_t num_tiles = (num_columns + kColumns - 1) / kColumns;
  for (int64_t i = blockIdx.x; i < num_runs * num_tiles; i += gridDim.x) {
    const int64_t run = i / num_tiles;
    const int64_t column = i % num_tiles * kColumns + threadIdx.x;
    const int64_t first_in_group = run % partials_per_group * kTokensPerPartial;
    const int64_t group_begin = run / partials_per_group * groups.tokens_per_group;
    const int64_t begin = group_begin + first_in_group;
    const int64_t end =
        group_begin + min(first_in_group + kTokensPerPartial, groups.tokens_per_group);
    double sum = 0;
    if (column < num_experts) {
#pragma unroll 4
      for (int64_t t = begin + threadIdx.y; t < end; t += kRows) {
        sum += static_cast<double>(probs_TE[t * num_experts + column]);
      }
    } else if (column < num_columns) {
      for (int64_t t = begin + threadIdx.y; t < end; t += kRows) {
        const auto value = static_cast<double>(logsumexp_T[t]);
        sum = fma(value, value, sum);
      }
    }
    row_sums[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y == 0 && column < num_columns) {
      for (int y = 1; y < kRows; ++y) {
        sum += row_sums[y][threadIdx.x];
      }
      partials[run * num_columns + column] = sum;
    }
    __syncthreads();
  }
}
MOESAIC_KERNEL(sum_runs_kernel)

// A thread a group and column.
__global__ void __launch_bounds__(kThreads)
    sum_partials_kernel(const double* __restrict__ partials, TokenGroups groups,
                        int64_t partials_per_group, double* __restrict__ prob_sums_GE,
                        double* __restrict__ logsumexp_squares_G) {
  const int64_t num_columns = groups.num_experts + (logsumexp_squares_G == nullptr ? 0 : 1);
  const int64_t stride = int64_t{gridDim.x} * kThreads;
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
       i < groups.num_groups * num_columns; i += stride) {
    const int64_t g = i / num_columns;
    const int64_t column = i % num_columns;
    double sum = 0;
#pragma unroll 4
    for (int64_t p = 0; p < partials_per_group; ++p) {
      sum += partials[(g * partials_per_group + p) * num_columns + column];
    }
    if (column < groups.num_experts) {
      prob_sums_GE[g * groups.num_experts + column] = sum;
    } else {
      logsumexp_squares_G[g] = sum;
    }
  }
}
MOESAIC_KERNEL(sum_partials_kernel)

int64_t TokenGroups::num_partials() const {
  return num_groups * partials_per_group() * (num_experts + 1);
}

template <class Value>
void auxiliary_sums(const Value* probs_TE, const Value* logsumexp_T, const TokenGroups& groups,
                    double* partials, double* prob_sums_GE, double* logsumexp_squares_G,
                    cudaStream_t stream, int64_t max_blocks) {
  if (groups.num_groups == 0) {
    return;
  }
  const bool with_squares = logsumexp_squares_G != nullptr;
  const int64_t num_columns = groups.num_experts + (with_squares ? 1 : 0);
  const int64_t num_tiles = (num_columns + kColumns - 1) / kColumns;
  const int64_t per_group = groups.partials_per_group();
  launch(sum_runs_kernel<Value>, row_grid(groups.num_groups * per_group * num_tiles, 1, max_blocks),
         dim3(kColumns, kRows), /*dynamic_shared_bytes=*/0, stream, probs_TE, logsumexp_T, groups,
         with_squares, per_group, partials);
  launch(sum_partials_kernel, row_grid(groups.num_groups * num_columns, kThreads, max_blocks),
         dim3(kThreads), /*dynamic_shared_bytes=*/0, stream, static_cast<const double*>(partials),
         groups, per_group, prob_sums_GE, logsumexp_squares_G);
}

template void auxiliary_sums<float>(const float*, const float*, const TokenGroups&, double*,
                                    double*, double*, cudaStream_t, int64_t);
template void auxiliary_sums<double>(const double*, const double*, const TokenGroups&, double*,
                                     double*, double*, cudaStream_t, int64_t);

}  // namespace moesaic::kernels::cuda
