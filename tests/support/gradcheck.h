// Gradients against central differences, in double: LibTorch has no gradcheck in C++.
#pragma once

#include <ATen/Functions.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <functional>
#include <vector>

#include "tests/support/random_tensor.h"
#include "tests/support/tensor_check.h"

namespace moesaic::tests {

/// Compares the gradients of <function(inputs), v>, v fixed and random, with central differences,
/// for every element of every input. The inputs are float64 and copied; the function must be
/// smooth within `step` of them (no choice may tip).
inline testing::AssertionResult gradcheck(
    const std::function<at::Tensor(const std::vector<at::Tensor>&)>& function,
    const std::vector<at::Tensor>& inputs, double tolerance = 1e-7, double step = 1e-5) {
  std::vector<at::Tensor> leaves;
  for (const auto& input : inputs) {
    leaves.push_back(input.detach().clone(at::MemoryFormat::Contiguous).set_requires_grad(true));
  }
  const auto out = function(leaves);
  const auto v = random_tensor(out.sizes(), /*seed=*/99);
  out.backward(v);

  const at::NoGradGuard no_grad;
  const auto objective = [&] { return function(leaves).mul(v).sum().item<double>(); };
  for (size_t i = 0; i < leaves.size(); ++i) {
    const auto& leaf = leaves[i];
    if (!leaf.grad().defined()) {
      return testing::AssertionFailure() << "input " << i << " got no gradient";
    }
    auto numeric = at::zeros_like(leaf);
    auto* value = leaf.data_ptr<double>();
    for (int64_t j = 0; j < leaf.numel(); ++j) {
      const double centre = value[j];
      value[j] = centre + step;
      const double above = objective();
      value[j] = centre - step;
      const double below = objective();
      value[j] = centre;
      numeric.data_ptr<double>()[j] = (above - below) / (2 * step);
    }
    if (auto close = all_close(leaf.grad(), numeric, tolerance, tolerance); !close) {
      return testing::AssertionFailure() << "input " << i << ": " << close.message();
    }
  }
  return testing::AssertionSuccess();
}

}  // namespace moesaic::tests
