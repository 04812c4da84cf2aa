// Forward: the lanes of a token own its columns and add its rows in ascending k. Backward: a warp
// owns a token, so that the gate gradients need shuffles only. No output has two writers.
//
// Shape letters: kernels/ops.h.
#include "kernels/cuda/unpermute_tokens.h"

#include "kernels/cuda/choice_rows.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/vector_access.h"
#include "kernels/cuda/warp_reduce.h"

namespace moesaic::kernels::cuda {
namespace {

constexpr int kBackwardThreads = 128;

}  // namespace

/// Block: lanes x tokens (row_block over packs of pack_width elements).
template <class T, int pack_width>
__global__ void unpermute_tokens_kernel(const T* rows_RD, const Accumulate<T>* weights_TK,
                                        const int64_t* row_of_choice_TK, int64_t num_tokens,
                                        int64_t top_k, int64_t num_rows, int64_t width, T* out_TD,
                                        int* foreign_row) {
  constexpr int kRowsInFlight = 4;
  const int64_t token_stride = static_cast<int64_t>(gridDim.x) * blockDim.y;
  for (int64_t t = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y; t < num_tokens;
       t += token_stride) {
    for (int64_t d = threadIdx.x * pack_width; d < width; d += blockDim.x * pack_width) {
      Accumulate<T> sum[pack_width] = {};
      for (int64_t first = 0; first < top_k; first += kRowsInFlight) {
        const int64_t choice = t * top_k + first;
        const auto rows = load_choice_rows<kRowsInFlight>(row_of_choice_TK + choice, top_k - first,
                                                          num_rows, foreign_row);
        Accumulate<T> weights[kRowsInFlight];
        Pack<T, pack_width> row_parts[kRowsInFlight];
#pragma unroll
        for (int i = 0; i < kRowsInFlight; ++i) {
          if (rows.at[i] >= 0) {
            weights[i] = weights_TK == nullptr ? Accumulate<T>(1) : weights_TK[choice + i];
            row_parts[i] = load_pack<pack_width>(rows_RD + rows.at[i] * width + d);
          }
        }
#pragma unroll
        for (int i = 0; i < kRowsInFlight; ++i) {
          if (rows.at[i] >= 0) {
#pragma unroll
            for (int j = 0; j < pack_width; ++j) {
              sum[j] += rounded_product(weights[i], widen(row_parts[i].at[j]));
            }
          }
        }
      }
      Pack<T, pack_width> out_part;
#pragma unroll
      for (int j = 0; j < pack_width; ++j) {
        out_part.at[j] = round_to<T>(sum[j]);
      }
      store_pack(out_TD + t * width + d, out_part);
    }
  }
}
MOESAIC_KERNEL(unpermute_tokens_kernel)

/// Block: kBackwardThreads, a warp a token. Choices are taken kRowsInFlight at a time.
template <class T, bool vectorised>
__global__ void unpermute_tokens_backward_kernel(const T* grad_out_TD, const T* rows_RD,
                                                 const Accumulate<T>* weights_TK,
                                                 const int64_t* row_of_choice_TK,
                                                 int64_t num_tokens, int64_t top_k,
                                                 int64_t num_rows, int64_t width, T* grad_rows_RD,
                                                 Accumulate<T>* grad_weights_TK, int* foreign_row) {
  constexpr int kRowsInFlight = 4;
  constexpr int kPackWidth = kVectorWidth<T>;
  const int lane = threadIdx.x % kWarpSize;
  const int64_t num_warps = static_cast<int64_t>(gridDim.x) * (blockDim.x / kWarpSize);
  const int64_t first_token =
      static_cast<int64_t>(blockIdx.x) * (blockDim.x / kWarpSize) + threadIdx.x / kWarpSize;
  for (int64_t t = first_token; t < num_tokens; t += num_warps) {
    for (int64_t first = 0; first < top_k; first += kRowsInFlight) {
      const int64_t choice = t * top_k + first;
      const auto rows = load_choice_rows<kRowsInFlight>(row_of_choice_TK + choice, top_k - first,
                                                        num_rows, foreign_row);
      Accumulate<T> weights[kRowsInFlight];
      Accumulate<T> dots[kRowsInFlight] = {};
#pragma unroll
      for (int i = 0; i < kRowsInFlight; ++i) {
        weights[i] = rows.at[i] < 0 ? Accumulate<T>(0) : weights_TK[choice + i];
      }
      for (int64_t d = lane * kPackWidth; d < width; d += kWarpSize * kPackWidth) {
        const auto grad = load_part<vectorised, kPackWidth>(grad_out_TD + t * width + d, width - d);
        if (grad_weights_TK != nullptr) {
          Pack<T, kPackWidth> row_parts[kRowsInFlight];
#pragma unroll
          for (int i = 0; i < kRowsInFlight; ++i) {
            if (rows.at[i] >= 0) {
              row_parts[i] =
                  load_part<vectorised, kPackWidth>(rows_RD + rows.at[i] * width + d, width - d);
            }
          }
#pragma unroll
          for (int i = 0; i < kRowsInFlight; ++i) {
            if (rows.at[i] >= 0) {
              dots[i] = add_products(row_parts[i], grad, dots[i]);
            }
          }
        }
        if (grad_rows_RD != nullptr) {
#pragma unroll
          for (int i = 0; i < kRowsInFlight; ++i) {
            if (rows.at[i] >= 0) {
              Pack<T, kPackWidth> grad_row;
#pragma unroll
              for (int j = 0; j < kPackWidth; ++j) {
                grad_row.at[j] = round_to<T>(rounded_product(weights[i], widen(grad.at[j])));
              }
              store_part<vectorised>(grad_rows_RD + rows.at[i] * width + d, grad_row, width - d);
            }
          }
        }
      }
      if (grad_weights_TK != nullptr) {
#pragma unroll
        for (int i = 0; i < kRowsInFlight; ++i) {
          if (first + i < top_k) {
            const Accumulate<T> gate = warp_sum(dots[i]);
            if (lane == 0) {
              grad_weights_TK[choice + i] = gate;
            }
          }
        }
      }
    }
  }
}
MOESAIC_KERNEL(unpermute_tokens_backward_kernel)

template <class T>
void unpermute_tokens(const T* rows_RD, const Accumulate<T>* weights_TK,
                      const int64_t* row_of_choice_TK, int64_t num_tokens, int64_t top_k,
                      int64_t num_rows, int64_t width, T* out_TD, int* foreign_row,
                      cudaStream_t stream, int64_t max_blocks) {
  if (num_tokens == 0 || width == 0) {
    return;
  }
  const auto run = [&](auto pack_width) {
    const dim3 block = row_block(width / pack_width);
    launch(unpermute_tokens_kernel<T, pack_width>, row_grid(num_tokens, block.y, max_blocks), block,
           /*dynamic_shared_bytes=*/0, stream, rows_RD, weights_TK, row_of_choice_TK, num_tokens,
           top_k, num_rows, width, out_TD, foreign_row);
  };
  if (moves_in_units(kVectorBytes, width * sizeof(T), {rows_RD, out_TD})) {
    run(std::integral_constant<int, kVectorWidth<T>>{});
  } else {
    run(std::integral_constant<int, 1>{});
  }
}

template <class T>
void unpermute_tokens_backward(const T* grad_out_TD, const T* rows_RD,
                               const Accumulate<T>* weights_TK, const int64_t* row_of_choice_TK,
                               int64_t num_tokens, int64_t top_k, int64_t num_rows, int64_t width,
                               T* grad_rows_RD, Accumulate<T>* grad_weights_TK, int* foreign_row,
                               cudaStream_t stream, int64_t max_blocks) {
  if (num_tokens == 0 || (grad_rows_RD == nullptr && grad_weights_TK == nullptr)) {
    return;
  }
  const auto run = [&](auto vectorised) {
    launch(unpermute_tokens_backward_kernel<T, vectorised>,
           row_grid(num_tokens, kBackwardThreads / kWarpSize, max_blocks), dim3(kBackwardThreads),
           /*dynamic_shared_bytes=*/0, stream, grad_out_TD, rows_RD, weights_TK, row_of_choice_TK,
           num_tokens, top_k, num_rows, width, grad_rows_RD, grad_weights_TK, foreign_row);
  };
  if (moves_in_units(kVectorBytes, width * sizeof(T), {grad_out_TD, rows_RD, grad_rows_RD})) {
    run(std::true_type{});
  } else {
    run(std::false_type{});
  }
}

#define MOESAIC_INSTANTIATE(T)                                                                   \
  template void unpermute_tokens<T>(const T*, const Accumulate<T>*, const int64_t*, int64_t,     \
                                    int64_t, int64_t, int64_t, T*, int*, cudaStream_t, int64_t); \
  template void unpermute_tokens_backward<T>(const T*, const T*, const Accumulate<T>*,           \
                                             const int64_t*, int64_t, int64_t, int64_t, int64_t, \
                                             T*, Accumulate<T>*, int*, cudaStream_t, int64_t);
MOESAIC_INSTANTIATE(float)
MOESAIC_INSTANTIATE(double)
MOESAIC_INSTANTIATE(__nv_bfloat16)
MOESAIC_INSTANTIATE(__half)
#undef MOESAIC_INSTANTIATE

}  // namespace moesaic::kernels::cuda
