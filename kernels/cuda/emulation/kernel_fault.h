// What a kernel does wrong, as an exception of the launch.
#pragma once

#include <stdexcept>
#include <string>

namespace moesaic::kernels::cuda::emulation {

/// A place in a kernel's source.
struct Site {
  const char* file = nullptr;
  int line = 0;
};

/// Thrown by launch() when a kernel breaks a rule of CUDA; the block is abandoned where it stands.
/// what() is "kernel K, block (x, y, z), thread (x, y, z): FILE:LINE: the fault".
class KernelFault : public std::runtime_error {
 public:
  KernelFault(const std::string& what, std::string kernel, std::string thread, Site site)
      : std::runtime_error(what),
        kernel_(std::move(kernel)),
        thread_(std::move(thread)),
        site_(site) {}

  const std::string& kernel() const { return kernel_; }  // "permute_rows"
  const std::string& thread() const { return thread_; }  // "block (0, 0, 0), thread (5, 0, 0)"
  const Site& site() const { return site_; }

 private:
  std::string kernel_;
  std::string thread_;
  Site site_;
};

}  // namespace moesaic::kernels::cuda::emulation
