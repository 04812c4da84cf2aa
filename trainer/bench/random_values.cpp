#include "trainer/bench/random_values.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Functions.h>

namespace moesaic::trainer {

at::Tensor random_values(at::IntArrayRef sizes, uint64_t seed, at::Device device,
                         at::ScalarType dtype, double deviation) {
  const auto drawn = dtype == at::kDouble ? at::kDouble : at::kFloat;
  return at::randn(sizes, at::detail::createCPUGenerator(seed), drawn)
      .mul_(deviation)
      .to(device, dtype);
}

at::Tensor random_indices(at::IntArrayRef sizes, uint64_t seed, at::Device device, int64_t end) {
  return at::randint(end, sizes, at::detail::createCPUGenerator(seed), at::kLong).to(device);
}

}  // namespace moesaic::trainer
