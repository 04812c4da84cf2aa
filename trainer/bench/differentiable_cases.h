// An operator with a backward as cases, against the autograd of its reference.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <string>
#include <vector>

#include "trainer/bench/bench_case.h"

namespace moesaic::trainer {

using Tensors = std::vector<at::Tensor>;

/// A function of tensors that require gradients, and how it is to be verified.
struct Differentiable {
  std::string name;
  Bound bound = Bound::kMemory;
  OperatorWork work;
  Tensors inputs;             ///< leaves that require gradients
  Tensors grad_outputs = {};  ///< one for each output
  std::function<Tensors()> operation = {};
  std::function<Tensors()> reference = {};
  double forward_bound = 0.0;  ///< of difference(); 0 where data only move
  double backward_bound = 0.0;
};

/// `name`: the operation without gradients.
BenchCase forward_case(const Differentiable& tested);

/// "`name` backward": the gradients of all inputs, through a graph that is built once.
BenchCase backward_case(const Differentiable& tested);

/// "`name` forward+backward": for an operator whose forward prepares the gradients.
BenchCase forward_backward_case(const Differentiable& tested);

}  // namespace moesaic::trainer
