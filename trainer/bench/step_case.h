// A training step as a case: the whole of train_step(), on tokens that mean nothing.
#pragma once

#include "parallel/device_mesh.h"
#include "trainer/bench/bench_case.h"
#include "trainer/config/config.h"

namespace moesaic::trainer {

/// The layer and the head of a configuration's model at the sizes of one micro-batch, to be
/// verified: a step is made of them. Heads of many tokens are verified on the first 1024.
std::vector<BenchCase> step_parts(const Config& config, at::Device device);

/// One optimiser step of one rank on a global batch of uniformly drawn tokens, the same every
/// time: all micro-batches forward and backward, gradient norm, clipping, update, metrics. The mesh
/// must outlive it. A step that is skipped (not finite) throws ExitError(kInternal).
BenchCase step_case(const Config& config, const parallel::DeviceMesh& mesh, at::Device device);

}  // namespace moesaic::trainer
