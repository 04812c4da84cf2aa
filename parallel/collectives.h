// Collectives that autograd can differentiate.
#pragma once

#include <ATen/core/Tensor.h>

#include "parallel/communicator.h"

namespace moesaic::parallel {

/// Rows of `input` [sum(input_splits), ...] go to the ranks of `communicator` by input_splits.
/// Returns [sum(output_splits), ...]: what arrives, ordered by source rank. Any type; gradients
/// for floating ones. Blocks until the rows are there.
///
/// Collective, forward and backward, whatever the row counts: the backward pass sends the gradient
/// rows back, also when this rank has none. So the result must take part in the loss of all ranks
/// or of none, and `input` must require a gradient on all or on none.
/// Cost: size() - 1 messages each way.
at::Tensor all_to_all_v(const at::Tensor& input, at::IntArrayRef output_splits,
                        at::IntArrayRef input_splits, const CommunicatorPtr& communicator);

}  // namespace moesaic::parallel
