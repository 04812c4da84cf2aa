// The sizes of grids in which a kernel must give the same bits.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/cuda/grid.h"

#ifdef MOESAIC_CUDA_EMULATION
#include "kernels/cuda/emulation/sanitizer.h"
#endif

namespace moesaic::kernels::cuda {

/// Blocks of a launch: one, some, as many as the launcher likes. Under ThreadSanitizer two, each of
/// several turns: all that can race, at a third of the time.
inline std::vector<int64_t> grids() {
#ifdef MOESAIC_CUDA_EMULATION
  if (emulation::sanitizer() == emulation::Sanitizer::kThread) {
    return {2};
  }
#endif
  return {1, 3, kMaxBlocks};
}

}  // namespace moesaic::kernels::cuda
