// The rows that a plan names, before they become addresses.
#pragma once

#include <cstdint>

#include "kernels/cuda/launch.h"

namespace moesaic::kernels::cuda {

/// The row itself when there is one to visit, else -1: a dropped choice, or a row past the end.
/// A row past the end is an error of the plan: it is not touched, and *foreign_row becomes 1 for
/// the host to find (foreign_row may be null).
__device__ inline int64_t checked_row(int64_t row, int64_t num_rows, int* foreign_row) {
  if (row < num_rows) {
    return row < 0 ? -1 : row;
  }
  if (foreign_row != nullptr) {
    atomicOr(foreign_row, 1);
  }
  return -1;
}

}  // namespace moesaic::kernels::cuda
