// AdamW (1711.05101) on the flat buffers of the parameter store, by ATen's fused kernel.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "parallel/parameter_store.h"
#include "trainer/optimizer_options.h"

namespace moesaic::trainer {

class AdamW {
 public:
  /// The store must outlive the optimiser. Moments start at zero, in the dtype of the parameters.
  AdamW(parallel::ParameterStore& store, const OptimizerOptions& options);

  /// One update of all parameters from the main gradients. Weight decay acts on every parameter.
  void step(double lr);

  /// Updates done so far: AdamW's bias correction counts these, not the skipped steps.
  int64_t num_updates() const { return num_updates_; }
  void set_num_updates(int64_t num_updates) { num_updates_ = num_updates; }

  /// Flat first and second moments, one for each group of the store.
  const std::vector<at::Tensor>& exp_avg() const { return exp_avg_; }
  const std::vector<at::Tensor>& exp_avg_sq() const { return exp_avg_sq_; }

 private:
  parallel::ParameterStore& store_;
  OptimizerOptions options_;
  std::vector<at::Tensor> exp_avg_;
  std::vector<at::Tensor> exp_avg_sq_;
  int64_t num_updates_ = 0;
};

}  // namespace moesaic::trainer
