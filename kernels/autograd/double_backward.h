// Our backward formulas are not recorded: a second derivative would silently be zero.
#pragma once

#include <ATen/core/grad_mode.h>
#include <c10/util/Exception.h>

namespace moesaic::kernels {

/// First line of a backward. Throws when the engine runs with create_graph = true.
inline void refuse_double_backward(const char* op) {
  TORCH_CHECK(!at::GradMode::is_enabled(), op, ": double backward is not supported");
}

}  // namespace moesaic::kernels
