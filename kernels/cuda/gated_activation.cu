// Element by element: a thread takes the same columns of both halves of a row.
//
// Shape letters: kernels/ops.h.
#include "kernels/cuda/gated_activation.h"

#include "kernels/cuda/launch.h"
#include "kernels/cuda/vector_access.h"

namespace moesaic::kernels::cuda {
namespace {

__device__ float exponential(float x) {
  return expf(x);
}
__device__ double exponential(double x) {
  return exp(x);
}

}  // namespace

/// Block: lanes x rows (row_block over packs of pack_width elements).
template <class T, int pack_width>
__global__ void gated_activation_kernel(const T* gate_up_R2F, int64_t num_rows, int64_t width,
                                        T* out_RF) {
  const int64_t row_stride = static_cast<int64_t>(gridDim.x) * blockDim.y;
  for (int64_t r = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y; r < num_rows;
       r += row_stride) {
    for (int64_t f = threadIdx.x * pack_width; f < width; f += blockDim.x * pack_width) {
      const auto gate = load_pack<pack_width>(gate_up_R2F + r * 2 * width + f);
      const auto up = load_pack<pack_width>(gate_up_R2F + r * 2 * width + width + f);
      Pack<T, pack_width> out;
#pragma unroll
      for (int i = 0; i < pack_width; ++i) {
        const Accumulate<T> g = widen(gate.at[i]);
        // exp(-g) overflows to infinity for very negative g, and g / infinity is the right zero.
        const Accumulate<T> silu = g / (1 + exponential(-g));
        out.at[i] = round_to<T>(silu * widen(up.at[i]));
      }
      store_pack(out_RF + r * width + f, out);
    }
  }
}
MOESAIC_KERNEL(gated_activation_kernel)

/// Block: lanes x rows (row_block over packs of pack_width elements).
template <class T, int pack_width>
__global__ void gated_activation_backward_kernel(const T* grad_out_RF, const T* gate_up_R2F,
                                                 int64_t num_rows, int64_t width,
                                                 T* grad_gate_up_R2F) {
  const int64_t row_stride = static_cast<int64_t>(gridDim.x) * blockDim.y;
  for (int64_t r = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y; r < num_rows;
       r += row_stride) {
    for (int64_t f = threadIdx.x * pack_width; f < width; f += blockDim.x * pack_width) {
      const int64_t gate_at = r * 2 * width + f;
      const auto grad_out = load_pack<pack_width>(grad_out_RF + r * width + f);
      const auto gate = load_pack<pack_width>(gate_up_R2F + gate_at);
      const auto up = load_pack<pack_width>(gate_up_R2F + gate_at + width);
      Pack<T, pack_width> grad_gate;
      Pack<T, pack_width> grad_up;
#pragma unroll
      for (int i = 0; i < pack_width; ++i) {
        const Accumulate<T> grad = widen(grad_out.at[i]);
        const Accumulate<T> g = widen(gate.at[i]);
        const Accumulate<T> sigmoid = 1 / (1 + exponential(-g));
        grad_gate.at[i] = round_to<T>(grad * widen(up.at[i]) * sigmoid * (1 + g * (1 - sigmoid)));
        grad_up.at[i] = round_to<T>(grad * g * sigmoid);
      }
      store_pack(grad_gate_up_R2F + gate_at, grad_gate);
      store_pack(grad_gate_up_R2F + gate_at + width, grad_up);
    }
  }
}
MOESAIC_KERNEL(gated_activation_backward_kernel)

template <class T>
void gated_activation(const T* gate_up_R2F, int64_t num_rows, int64_t width, T* out_RF,
                      cudaStream_t stream, int64_t max_blocks) {
  if (num_rows == 0 || width == 0) {
    return;
  }
  const auto run = [&](auto pack_width) {
    const dim3 block = row_block(width / pack_width);
    launch(gated_activation_kernel<T, pack_width>, row_grid(num_rows, block.y, max_blocks), block,
           /*dynamic_shared_bytes=*/0, stream, gate_up_R2F, num_rows, width, out_RF);
  };
  if (moves_in_units(kVectorBytes, width * sizeof(T), {gate_up_R2F, out_RF})) {
    run(std::integral_constant<int, kVectorWidth<T>>{});
  } else {
    run(std::integral_constant<int, 1>{});
  }
}

template <class T>
void gated_activation_backward(const T* grad_out_RF, const T* gate_up_R2F, int64_t num_rows,
                               int64_t width, T* grad_gate_up_R2F, cudaStream_t stream,
                               int64_t max_blocks) {
  if (num_rows == 0 || width == 0) {
    return;
  }
  const auto run = [&](auto pack_width) {
    const dim3 block = row_block(width / pack_width);
    launch(gated_activation_backward_kernel<T, pack_width>, row_grid(num_rows, block.y, max_blocks),
           block, /*dynamic_shared_bytes=*/0, stream, grad_out_RF, gate_up_R2F, num_rows, width,
           grad_gate_up_R2F);
  };
  if (moves_in_units(kVectorBytes, width * sizeof(T),
                     {grad_out_RF, gate_up_R2F, grad_gate_up_R2F})) {
    run(std::integral_constant<int, kVectorWidth<T>>{});
  } else {
    run(std::integral_constant<int, 1>{});
  }
}

#define MOESAIC_INSTANTIATE(T)                                                              \
  template void gated_activation<T>(const T*, int64_t, int64_t, T*, cudaStream_t, int64_t); \
  template void gated_activation_backward<T>(const T*, const T*, int64_t, int64_t, T*,      \
                                             cudaStream_t, int64_t);
MOESAIC_INSTANTIATE(float)
MOESAIC_INSTANTIATE(double)
MOESAIC_INSTANTIATE(__nv_bfloat16)
MOESAIC_INSTANTIATE(__half)
#undef MOESAIC_INSTANTIATE

}  // namespace moesaic::kernels::cuda
