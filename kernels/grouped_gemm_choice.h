// Which implementation grouped_gemm takes, and whether a choice can work: plain rules, the same in
// every build.
#pragma once

#include <c10/core/ScalarType.h>

#include <string>

#include "kernels/kernel_options.h"

namespace moesaic::kernels {

/// Where a grouped product runs.
struct GroupedGemmPlace {
  int gpu_generation = 0;  ///< compute capability, major: 9 Hopper, 10 Blackwell; 0: no GPU
  at::ScalarType dtype = at::kFloat;  ///< of rows and weights
};

/// Why `kind` cannot work there; empty if it can.
std::string why_not(GroupedGemmKind kind, const GroupedGemmPlace& place);

/// Whether outputs and data gradients go through at::_grouped_mm there rather than cuBLAS. It is
/// fast for bfloat16 on SM90 and SM100, and elsewhere a loop of its own. Of a kind that can work.
bool takes_grouped_mm(GroupedGemmKind kind, const GroupedGemmPlace& place);

/// The process-wide choice (kernels.grouped_gemm), kAuto until it is set. Any thread.
void set_grouped_gemm(GroupedGemmKind kind);
GroupedGemmKind chosen_grouped_gemm();

}  // namespace moesaic::kernels
