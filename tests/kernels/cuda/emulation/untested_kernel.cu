// Must not link: no MOESAIC_KERNEL_TEST(untested) anywhere (cuda_untested_kernel_does_not_link).
#include "kernels/cuda/launch.h"

namespace moesaic::kernels::cuda {

__global__ void untested(int* out) {
  *out = 1;
}
MOESAIC_KERNEL(untested)

}  // namespace moesaic::kernels::cuda

int main() {
  int out = 0;
  moesaic::kernels::cuda::launch(moesaic::kernels::cuda::untested, 1, 1, 0, nullptr, &out);
  return out == 1 ? 0 : 1;
}
