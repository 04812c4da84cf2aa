// --kernel-log: how often each CUDA kernel was launched.
#pragma once

namespace moesaic::trainer {

/// Throws ExitError(kUsage) when a log is `wanted` and this build has no CUDA kernels. To be called
/// before the work begins.
void check_kernel_log(bool wanted);

/// Prints the launches of rank 0 where `wanted`: a head line, then a line "KERNEL LAUNCHES" for
/// each kernel of this build, in alphabetical order, those never launched included.
void print_kernel_log(bool wanted);

}  // namespace moesaic::trainer
