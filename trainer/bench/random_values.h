// Inputs of the cases: the same for the same seed, on every device.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace moesaic::trainer {

/// Normal values of this standard deviation.
at::Tensor random_values(at::IntArrayRef sizes, uint64_t seed, at::Device device,
                         at::ScalarType dtype, double deviation = 1.0);

/// Integers in [0, end).
at::Tensor random_indices(at::IntArrayRef sizes, uint64_t seed, at::Device device, int64_t end);

}  // namespace moesaic::trainer
