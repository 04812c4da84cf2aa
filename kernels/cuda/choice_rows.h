// The rows that a plan names, before they become addresses.
#pragma once

#include <cstdint>

#include "kernels/cuda/launch.h"

namespace moesaic::kernels::cuda {

/// The rows of up to `size` neighbouring choices: at[i] is the row of choice i if there is one to
/// visit, else -1 (a dropped choice, i >= count, or a row past the end).
template <int size>
struct ChoiceRows {
  int64_t at[size];
};

/// Loads the rows of `count` choices, at most `size`; all loads are under way before the first is
/// looked at. A row past the end is an error of the plan: it counts as dropped, and *foreign_row
/// becomes 1 for the host to find (foreign_row may be null).
template <int size>
__device__ ChoiceRows<size> load_choice_rows(const int64_t* row_of_choice, int64_t count,
                                             int64_t num_rows, int* foreign_row) {
  ChoiceRows<size> rows;
#pragma unroll
  for (int i = 0; i < size; ++i) {
    rows.at[i] = i < count ? row_of_choice[i] : -1;
  }
  bool foreign = false;
#pragma unroll
  for (int i = 0; i < size; ++i) {
    foreign |= rows.at[i] >= num_rows;
    rows.at[i] = rows.at[i] < 0 || rows.at[i] >= num_rows ? -1 : rows.at[i];
  }
  if (foreign && foreign_row != nullptr) {
    atomicOr(foreign_row, 1);
  }
  return rows;
}

}  // namespace moesaic::kernels::cuda
