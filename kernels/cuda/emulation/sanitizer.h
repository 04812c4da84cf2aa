// Which of the three builds of the emulation this is.
#pragma once

namespace moesaic::kernels::cuda::emulation {

enum class Sanitizer { kNone, kAddress, kThread };

/// What watches the kernels of this program. kAddress includes UndefinedBehaviorSanitizer.
Sanitizer sanitizer();

}  // namespace moesaic::kernels::cuda::emulation
