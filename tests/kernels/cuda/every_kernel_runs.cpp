// A test that names a kernel may still not run it. After all tests of a program, each kernel that
// is linked into it must have been launched.
#include <gtest/gtest.h>

#include "kernels/cuda/kernel_registry.h"

namespace moesaic::tests {
namespace {

class EveryKernelRuns : public testing::Environment {
 public:
  void TearDown() override {
    if (testing::GTEST_FLAG(filter) != "*") {
      return;  // some tests only
    }
    for (const auto& [name, num_launches] : kernels::cuda::kernel_launches()) {
      EXPECT_GT(num_launches, 0) << "no test has launched kernel " << name;
    }
  }
};

[[maybe_unused]] const auto* const environment =
    testing::AddGlobalTestEnvironment(new EveryKernelRuns);

}  // namespace
}  // namespace moesaic::tests
