// Random test data from a generator of its own: the default one is shared by the process.
#pragma once

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Functions.h>

#include <cstdint>

namespace moesaic::tests {

/// Normal values, the same for the same seed and shape.
inline at::Tensor random_tensor(at::IntArrayRef sizes, uint64_t seed,
                                at::ScalarType dtype = at::kDouble) {
  return at::randn(sizes, at::detail::createCPUGenerator(seed), at::kDouble).to(dtype);
}

/// Integers in [0, end).
inline at::Tensor random_integers(int64_t end, at::IntArrayRef sizes, uint64_t seed) {
  return at::randint(end, sizes, at::detail::createCPUGenerator(seed), at::kLong);
}

}  // namespace moesaic::tests
