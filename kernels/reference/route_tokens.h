// Routing in plain ATen: a stable sort, a softmax, a gather. Differentiable by ATen's own autograd.
#pragma once

#include "kernels/ops.h"

namespace moesaic::kernels::reference {

/// See kernels::route_tokens.
RoutedTokens route_tokens(const at::Tensor& logits_TE, const RouteOptions& options);

}  // namespace moesaic::kernels::reference
