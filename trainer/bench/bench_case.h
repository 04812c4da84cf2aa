// One line of a report: what is run, how much work that is, and how it is known to be right.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <string>
#include <vector>

#include "trainer/bench/work.h"

namespace moesaic::trainer {

struct BenchCase {
  std::string name;
  Bound bound = Bound::kMemory;
  Work work;
  double tokens = 0.0;  ///< of one run, where tokens a second mean something; else 0
  /// What is timed. Leaves everything as it found it, but for results.
  std::function<void()> run = {};
  /// Runs it once and compares with the reference: empty when right, else what is wrong. Called
  /// before the first run().
  std::function<std::string()> mismatch = {};
};

/// Empty if |actual - expected| <= bound * max |expected| everywhere (bound 0: bit for bit), else
/// `what`, where they differ most, and by how much. Nothing that is NaN is right.
std::string difference(const std::string& what, const at::Tensor& actual,
                       const at::Tensor& expected, double bound);

/// The texts that are not empty, with "; " between them.
std::string all_differences(const std::vector<std::string>& differences);

/// Bound of difference() for results of sums: rounding in other orders, not a shorter type (the
/// TF32 of a GPU is ten times outside float32's).
double rounding_bound(at::ScalarType dtype);

/// Of every operator in kernels/ops.h, forward and backward where it has one.
std::vector<BenchCase> operator_cases(const BenchShape& shape, at::Device device);

/// One MoE layer (dropless, all experts here) forward and backward: the gradients of input, router
/// and all expert weights, the latter in main gradients that are set to zero first.
BenchCase layer_case(const BenchShape& shape, bool norm_topk_prob, at::Device device);

/// Head and loss, forward alone and with backward.
std::vector<BenchCase> linear_cross_entropy_cases(const BenchShape& shape, at::Device device);

}  // namespace moesaic::trainer
