// The faults that AddressSanitizer and UndefinedBehaviorSanitizer find in kernels. They end the
// process, so each happens in a child. In bounds, the same kernels run.
#include <gtest/gtest.h>

#include <limits>
#include <memory>

#include "tests/kernels/cuda/emulation/faulty_kernels.h"
#include "tests/kernels/cuda/for_each_order.h"

MOESAIC_KERNEL_TEST(index_static_shared)
MOESAIC_KERNEL_TEST(write_static_shared)
MOESAIC_KERNEL_TEST(write_dynamic_shared)
MOESAIC_KERNEL_TEST(write_global)
MOESAIC_KERNEL_TEST(load_vector)
MOESAIC_KERNEL_TEST(compute)

namespace moesaic::tests {
namespace {

TEST(AddressSanitizerControl, InBoundsTheKernelsRun) {
  run_static_shared_write(31);
  run_static_shared_index(31);
  run_dynamic_shared_write(4, 5);
  float out[7] = {};
  run_global_write(out, 6);
  EXPECT_EQ(out[6], 1);
  alignas(16) const float in[8] = {1, 2, 3, 4, 5, 6, 7, 8};
  run_vector_load(in + 4, out);
  EXPECT_EQ(out[0], 26);
  int sum = 0;
  int power = 0;
  run_arithmetic(std::numeric_limits<int>::max() - 1, 1, 30, &sum, &power);
  EXPECT_EQ(sum, std::numeric_limits<int>::max());
  EXPECT_EQ(power, 1 << 30);
}

class AddressSanitizer : public testing::Test {
 protected:
  void SetUp() override {
    using kernels::cuda::emulation::Sanitizer;
    if (kernels::cuda::emulation::sanitizer() != Sanitizer::kAddress) {
      GTEST_SKIP() << "this program is built without AddressSanitizer";
    }
  }
};

TEST_F(AddressSanitizer, StaticSharedMemoryBeyondItsEnd) {
  EXPECT_DEATH(run_static_shared_write(32), "global-buffer-overflow.*write_static_shared");
  EXPECT_DEATH(run_static_shared_write(-1), "global-buffer-overflow.*write_static_shared");
}

TEST_F(AddressSanitizer, IndexBeyondAnArray) {
  EXPECT_DEATH(run_static_shared_index(32), "faulty_kernels.cu:.*index 32 out of bounds");
}

TEST_F(AddressSanitizer, DynamicSharedMemoryBeyondItsEnd) {
  EXPECT_DEATH(run_dynamic_shared_write(5, 5), "heap-buffer-overflow.*write_dynamic_shared");
}

TEST_F(AddressSanitizer, DynamicSharedMemoryThatTheLaunchLeftOut) {
  EXPECT_DEATH(run_dynamic_shared_write(0, 0), "null pointer|SEGV");
}

TEST_F(AddressSanitizer, GlobalMemoryBeyondItsEnd) {
  const std::unique_ptr<float[]> out(new float[7]);
  EXPECT_DEATH(run_global_write(out.get(), 7), "heap-buffer-overflow.*write_global");
}

TEST_F(AddressSanitizer, MisalignedVector) {
  alignas(16) float in[8] = {1, 2, 3, 4, 5, 6, 7, 8};
  float sum = 0;
  EXPECT_DEATH(run_vector_load(in + 1, &sum), "faulty_kernels.cu:.*misaligned address");
}

TEST_F(AddressSanitizer, SignedOverflow) {
  int sum = 0;
  int power = 0;
  EXPECT_DEATH(run_arithmetic(std::numeric_limits<int>::max(), 1, 0, &sum, &power),
               "faulty_kernels.cu:.*signed integer overflow");
}

TEST_F(AddressSanitizer, ShiftByAllBits) {
  int sum = 0;
  int power = 0;
  EXPECT_DEATH(run_arithmetic(0, 0, 32, &sum, &power),
               "faulty_kernels.cu:.*shift exponent 32 is too large");
}

}  // namespace
}  // namespace moesaic::tests
