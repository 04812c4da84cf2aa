// Without a GPU no test of this program can run: it says so and exits with 77, rather than pass or
// fail in each of them.
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>

namespace moesaic::tests {
namespace {

constexpr int kCannotRun = 77;

class NeedsGpu : public testing::Environment {
 public:
  void SetUp() override {
    int num_devices = 0;
    const auto error = cudaGetDeviceCount(&num_devices);
    if (error != cudaSuccess || num_devices == 0) {
      std::cerr << "cannot run, no GPU: " << cudaGetErrorString(error) << std::endl;
      std::_Exit(kCannotRun);
    }
    cudaDeviceProp properties{};
    ASSERT_EQ(cudaGetDeviceProperties(&properties, 0), cudaSuccess);
    std::cout << "on " << properties.name << ", compute capability " << properties.major << "."
              << properties.minor << std::endl;
  }
};

[[maybe_unused]] const auto* const environment = testing::AddGlobalTestEnvironment(new NeedsGpu);

}  // namespace
}  // namespace moesaic::tests
