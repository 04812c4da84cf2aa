// How a test runs a kernel: in every thread order, on the CPU, and as the kernel's own test.
//
//   #include "kernels/cuda/permute_tokens.h"             // launchers on raw pointers
//   #include "tests/kernels/cuda/for_each_order.h"
//
//   MOESAIC_KERNEL_TEST(permute_rows)                    // once a kernel: else no link
//
//   TEST(PermuteTokens, RowsAreCopiesOfTokens) {
//     const auto expected = reference::permute_tokens(...);     // once
//     tests::for_each_order([&] {
//       auto rows = at::full(...);                              // fresh outputs in each order
//       cuda::run_permute_tokens(x.const_data_ptr<float>(), ..., rows.mutable_data_ptr<float>(),
//                                /*stream=*/nullptr);
//       EXPECT_TRUE(all_equal(rows, expected));                 // a failure names the order
//     });
//   }
//
// The same source is built three times: plainly (eight orders), with AddressSanitizer and
// UndefinedBehaviorSanitizer (eight), with ThreadSanitizer (two, since it finds most races in any
// order; ctest adds the other six). Only kernels are instrumented; this file and LibTorch are not.
// Memory of CPU tensors is the device's.
// Memory that an operator leaves unwritten is a fault that no sanitizer sees: fill outputs with NaN
// or -1 before each run and compare all of them.
//
// Which sizes: small (T <= 256, D <= 512, E <= 64), since a CUDA thread costs about 1 us with a few
// barriers and shuffles, 30 us under ThreadSanitizer. CMake: tests/kernels/cuda/CMakeLists.txt.
//
// When a test fails, the message names order and kernel. For one order and one test alone:
//   export MOESAIC_CUDA_EMULATION_ORDER=pct:3
//   build/tests/kernels/cuda/NAME_plain --gtest_filter='PermuteTokens*'
// Built with nvcc (preset cuda, cuda_kernels_native_test) the same tests run once, on the GPU.
// After all tests of a program, a kernel that none has launched is a failure
// (every_kernel_runs.cpp).
#pragma once

#include <gtest/gtest.h>

#ifdef MOESAIC_CUDA_EMULATION
#include <cstdlib>

#include "kernels/cuda/emulation/order.h"
#include "kernels/cuda/emulation/sanitizer.h"
#else
#include <cuda_runtime_api.h>
#endif

/// Says that this file tests the kernel: defines the symbol that MOESAIC_KERNEL refers to.
#define MOESAIC_KERNEL_TEST(name)                      \
  extern "C" const char moesaic_test_of_kernel_##name; \
  const char moesaic_test_of_kernel_##name = 1;

namespace moesaic::tests {

#ifdef MOESAIC_CUDA_EMULATION

/// Calls `check` once in each thread order and names the order in its failures. Stops at the first
/// order that fails: the others would say the same.
template <class Check>
void for_each_order(Check check) {
  namespace emulation = kernels::cuda::emulation;
  auto orders = emulation::eight_orders();
  if (emulation::sanitizer() == emulation::Sanitizer::kThread) {
    orders = {emulation::Order::parse("forward"), emulation::Order::parse("pct:1")};
  }
  if (const char* only = std::getenv("MOESAIC_CUDA_EMULATION_ORDER")) {
    orders = {emulation::Order::parse(only)};
  }
  for (const auto& order : orders) {
    SCOPED_TRACE("thread order " + order.name());
    emulation::set_order(order);
    check();
    if (testing::Test::HasFailure()) {
      break;
    }
  }
  emulation::set_order({});
}

#else

/// Calls `check` once: a GPU has the order that it has. What a kernel did wrong shows at the end.
template <class Check>
void for_each_order(Check check) {
  check();
  const auto error = cudaDeviceSynchronize();
  EXPECT_EQ(error, cudaSuccess) << cudaGetErrorString(error);
}

#endif

}  // namespace moesaic::tests
