// A warp owns a row: no shared memory, no barrier, and one writer for each result.
//
// Shape letters: kernels/ops.h.
#include "kernels/cuda/row_dot.h"

#include "kernels/cuda/launch.h"
#include "kernels/cuda/vector_access.h"
#include "kernels/cuda/warp_reduce.h"

namespace moesaic::kernels::cuda {
namespace {

constexpr int kThreads = 256;

}  // namespace

template <class T, bool vectorised>
__global__ void row_dot_kernel(const T* a_RF, const T* b_RF, int64_t num_rows, int64_t width,
                               Accumulate<T>* out_R) {
  constexpr int kPackWidth = kVectorWidth<T>;
  const int lane = threadIdx.x % kWarpSize;
  const int64_t num_warps = static_cast<int64_t>(gridDim.x) * (blockDim.x / kWarpSize);
  const int64_t first_row =
      static_cast<int64_t>(blockIdx.x) * (blockDim.x / kWarpSize) + threadIdx.x / kWarpSize;
  for (int64_t r = first_row; r < num_rows; r += num_warps) {
    Accumulate<T> dot = 0;
#pragma unroll 4
    for (int64_t f = lane * kPackWidth; f < width; f += kWarpSize * kPackWidth) {
      const int64_t position = r * width + f;
      dot = add_products(load_part<vectorised, kPackWidth>(a_RF + position, width - f),
                         load_part<vectorised, kPackWidth>(b_RF + position, width - f), dot);
    }
    dot = warp_sum(dot);
    if (lane == 0) {
      out_R[r] = dot;
    }
  }
}
MOESAIC_KERNEL(row_dot_kernel)

template <class T>
void row_dot(const T* a_RF, const T* b_RF, int64_t num_rows, int64_t width, Accumulate<T>* out_R,
             cudaStream_t stream, int64_t max_blocks) {
  if (num_rows == 0) {
    return;
  }
  const auto run = [&](auto vectorised) {
    launch(row_dot_kernel<T, vectorised>, row_grid(num_rows, kThreads / kWarpSize, max_blocks),
           dim3(kThreads), /*dynamic_shared_bytes=*/0, stream, a_RF, b_RF, num_rows, width, out_R);
  };
  if (moves_in_units(kVectorBytes, width * sizeof(T), {a_RF, b_RF})) {
    run(std::true_type{});
  } else {
    run(std::false_type{});
  }
}

#define MOESAIC_INSTANTIATE(T)                                                                 \
  template void row_dot<T>(const T*, const T*, int64_t, int64_t, Accumulate<T>*, cudaStream_t, \
                           int64_t);
MOESAIC_INSTANTIATE(float)
MOESAIC_INSTANTIATE(double)
MOESAIC_INSTANTIATE(__nv_bfloat16)
MOESAIC_INSTANTIATE(__half)
#undef MOESAIC_INSTANTIATE

}  // namespace moesaic::kernels::cuda
