// What a launch may ask for on every architecture that we build for.
#pragma once

#include <cstddef>

namespace moesaic::kernels::cuda {

/// The most shared memory of a block on the smallest of our architectures, sm_120 (99 KiB).
constexpr size_t kMaxSharedBytes = 99 * 1024;

}  // namespace moesaic::kernels::cuda
