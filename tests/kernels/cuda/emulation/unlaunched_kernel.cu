// Must fail (cuda_unlaunched_kernel_is_a_failure): it names a test of its kernel, and none runs it.
#include <gtest/gtest.h>

#include "kernels/cuda/launch.h"
#include "tests/kernels/cuda/for_each_order.h"

MOESAIC_KERNEL_TEST(unlaunched)

namespace moesaic::kernels::cuda {

__global__ void unlaunched(int* out) {
  *out = 1;
}
MOESAIC_KERNEL(unlaunched)

TEST(UnlaunchedKernel, LaunchesNothing) {}

}  // namespace moesaic::kernels::cuda
