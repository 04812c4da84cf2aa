// What each lane gets from a warp operation.
#pragma once

#include <string>

#include "kernels/cuda/emulation/block.h"

namespace moesaic::kernels::cuda::emulation {

/// "__shfl_xor_sync", ...
const char* name_of(WarpOperation operation);

/// Fills warp.results for the lanes of a complete rendezvous. Returns what is wrong, or "".
std::string work_out_results(Warp& warp, const Rendezvous& meeting);

}  // namespace moesaic::kernels::cuda::emulation
