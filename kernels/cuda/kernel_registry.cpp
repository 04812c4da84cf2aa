#include "kernels/cuda/kernel_registry.h"

#include <cxxabi.h>
#ifndef MOESAIC_CUDA_EMULATION
#include <cuda_runtime_api.h>
#endif

#include <cstdlib>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <unordered_map>

#include "kernels/cuda/function_name.h"

namespace moesaic::kernels::cuda {
namespace {

struct Registry {
  std::mutex mutex;
  std::map<std::string, int64_t> launches;
  std::unordered_map<const void*, int64_t*> count_of;  // instantiation -> its kernel's count
};

// A function, since registrations run before main() in an order that nobody knows.
Registry& registry() {
  static Registry instance;
  return instance;
}

// On a GPU the runtime knows, but only with a driver; what nvcc makes of a kernel for the host has
// the kernel's name as well.
std::string mangled_name(const void* kernel) {
#if !defined(MOESAIC_CUDA_EMULATION) && CUDART_VERSION >= 12030
  const char* name = nullptr;
  if (cudaFuncGetName(&name, kernel) == cudaSuccess) {
    return name;
  }
  static_cast<void>(cudaGetLastError());  // sticks otherwise: ATen would blame its next kernel
#endif
  return function_name(kernel);
}

// "void a::b::name<float, 4>(int)" -> "name"
std::string plain_name(const std::string& demangled) {
  const auto end = demangled.find_first_of("<(");
  const auto qualified = demangled.substr(0, end);
  const auto begin = qualified.find_last_of(": ");
  return begin == std::string::npos ? qualified : qualified.substr(begin + 1);
}

}  // namespace

KernelRegistration::KernelRegistration(const char* name, const char* /*test*/) {
  const std::lock_guard lock(registry().mutex);
  registry().launches.emplace(name, 0);
}

std::map<std::string, int64_t> kernel_launches() {
  const std::lock_guard lock(registry().mutex);
  return registry().launches;
}

std::string kernel_name(const void* kernel) {
  const auto mangled = mangled_name(kernel);
  if (mangled.empty()) {
    throw std::logic_error("a kernel without a name: was the program stripped of its symbols?");
  }
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> demangled(
      abi::__cxa_demangle(mangled.c_str(), nullptr, nullptr, &status), &std::free);
  return status == 0 ? plain_name(demangled.get()) : mangled;
}

void count_launch(const void* kernel) {
  const std::lock_guard lock(registry().mutex);
  auto& count = registry().count_of[kernel];
  if (!count) {
    const auto name = kernel_name(kernel);
    const auto entry = registry().launches.find(name);
    if (entry == registry().launches.end()) {
      throw std::logic_error("kernel " + name + " is launched, but no MOESAIC_KERNEL names it");
    }
    count = &entry->second;
  }
  ++*count;
}

}  // namespace moesaic::kernels::cuda
