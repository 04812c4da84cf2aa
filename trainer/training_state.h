// A model in training on one rank, and the one function that a newcomer should read first:
// train_step(). It reads the same for every layout.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <vector>

#include "moe/model/language_model.h"
#include "moe/routing_statistics.h"
#include "parallel/device_mesh.h"
#include "parallel/fault_injection.h"
#include "parallel/gradient_reducer.h"
#include "trainer/adamw.h"
#include "trainer/config/config.h"

namespace moesaic::trainer {

/// What one step did; the same numbers on every rank. Shapes: L layers, E experts.
struct StepMetrics {
  double loss = 0.0;  ///< mean cross-entropy over the counted targets of the global batch, nats
  moe::AuxiliaryValues auxiliary;  ///< before their coefficients
  double grad_norm = 0.0;          ///< before clipping
  int64_t num_targets = 0;         ///< counted targets of the global batch
  bool skipped = false;            ///< loss or norm was not finite: nothing was updated
  bool stop_requested = false;     ///< a signal reached some rank
  at::Tensor counts_LE;            ///< int64, choices before dropping, whole global batch
  at::Tensor dropped_L;            ///< int64
};

struct TrainingOptions {
  moe::ModelConfig model;
  moe::MoeOptions moe;
  OptimizerOptions optimizer;
  at::ScalarType dtype = at::kFloat;
  at::Device device = at::kCPU;
  uint64_t seed = 0;
  bool force_balance = false;
  int64_t bucket_bytes = int64_t{4} << 20;
};

/// trainer.precision.parameter.
at::ScalarType parameter_dtype(const Config& config);
/// TrainingOptions of a configuration, on a device (DistributedSession::device).
TrainingOptions training_options(const Config& config, at::Device device);

class TrainingState {
 public:
  /// Builds model, store, reducer and optimiser. Collective over the mesh, which must outlive this.
  /// fault: may be null.
  TrainingState(const parallel::DeviceMesh& mesh, const TrainingOptions& options,
                std::shared_ptr<parallel::FaultInjection> fault);

  /// One optimiser step on this rank's micro-batches of a global batch of the given shape.
  /// Collective; every data rank brings the same number of micro-batches. A step whose loss or norm
  /// is not finite updates nothing. `stop_requested`: this rank has seen a signal.
  StepMetrics train_step(const std::vector<moe::MicroBatch>& micro_batches,
                         const moe::StepShape& shape, double lr, bool stop_requested = false);

  /// The first half of a step: gradients of the whole global batch, reduced, not yet clipped.
  StepMetrics compute_gradients(const std::vector<moe::MicroBatch>& micro_batches,
                                const moe::StepShape& shape, bool stop_requested = false);

  moe::LanguageModel& model() { return *model_; }
  parallel::ParameterStore& store() { return model_->store(); }
  AdamW& optimizer() { return *optimizer_; }
  /// What this rank's routers did in the last step.
  moe::RoutingStatistics& statistics() { return *statistics_; }
  const parallel::DeviceMesh& mesh() const { return mesh_; }

 private:
  int64_t count_targets(const std::vector<moe::MicroBatch>& micro_batches) const;
  void clip_and_update(const StepMetrics& metrics, double lr);
  StepMetrics collect(double loss_sum, int64_t num_targets, bool stop_requested);
  at::Tensor with_fault(const at::Tensor& loss);
  void inject_gradient_fault();

  const parallel::DeviceMesh& mesh_;
  TrainingOptions options_;
  std::shared_ptr<parallel::FaultInjection> fault_;
  std::unique_ptr<moe::LanguageModel> model_;
  std::unique_ptr<moe::AuxiliaryLosses> auxiliary_;
  std::unique_ptr<moe::RoutingStatistics> statistics_;
  std::unique_ptr<parallel::GradientReducer> reducer_;
  std::unique_ptr<AdamW> optimizer_;
};

}  // namespace moesaic::trainer
