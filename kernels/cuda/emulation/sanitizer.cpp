#include "kernels/cuda/emulation/sanitizer.h"

namespace moesaic::kernels::cuda::emulation {

Sanitizer sanitizer() {
#if defined(MOESAIC_EMULATION_ASAN)
  return Sanitizer::kAddress;
#elif defined(MOESAIC_EMULATION_TSAN)
  return Sanitizer::kThread;
#else
  return Sanitizer::kNone;
#endif
}

}  // namespace moesaic::kernels::cuda::emulation
