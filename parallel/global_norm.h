// The norm of the whole model's gradient, each logical parameter counted once whatever the layout.
#pragma once

#include "parallel/parameter_store.h"

namespace moesaic::parallel {

/// sqrt of the sum of squares of all main gradients, accumulated in float64. Replicas are counted
/// once; the parts of split parameters are summed over their ranks. To be called after the
/// reduction, by all ranks of the mesh; every rank gets the same bits. Cost: one all-reduce of one
/// number for each group of split parameters.
double global_gradient_norm(const ParameterStore& store);

/// Multiplies all main gradients by `factor`.
void scale_gradients(ParameterStore& store, double factor);

}  // namespace moesaic::parallel
