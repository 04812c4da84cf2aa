// Which kernels exist and how often each was launched: MOESAIC_KERNEL registers, launch() counts.
//
// Works in all builds; knows neither CUDA nor LibTorch.
#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace moesaic::kernels::cuda {

/// Launches of each kernel of this process by the kernel's plain name ("permute_rows"), summed over
/// its template arguments. Kernels that were registered and never launched stand there with 0.
std::map<std::string, int64_t> kernel_launches();

/// Enters a kernel into the table with 0 launches. Made by MOESAIC_KERNEL, before main().
struct KernelRegistration {
  /// `test` is the address of what the kernel's test defines, or null outside builds of tests.
  explicit KernelRegistration(const char* name, const char* test = nullptr);
};

/// Counts one launch. `kernel` is the address of a __global__ function.
/// Throws std::logic_error if no MOESAIC_KERNEL names it.
void count_launch(const void* kernel);

/// The plain name of a __global__ function, "permute_rows". Throws std::logic_error if it has none
/// (without a driver it is read from the program's symbols: it must not be stripped).
std::string kernel_name(const void* kernel);

}  // namespace moesaic::kernels::cuda
