// One parity run: our model in some layout against the numbers of a golden case.
#pragma once

#include <string>
#include <vector>

#include "parallel/device_mesh.h"
#include "parallel/fault_injection.h"
#include "trainer/parity/comparison.h"
#include "trainer/parity/golden_case.h"
#include "trainer/training_state.h"

namespace moesaic::trainer {

struct ParityOptions {
  int64_t micro_batch_size = 1;  ///< sequences
  at::ScalarType dtype = at::kFloat;
  at::Device device = at::kCPU;
  bool force_balance = false;
};

class ParityRun {
 public:
  /// Collective over the mesh. The golden case and the mesh must outlive this.
  /// Throws ExitError(kConfiguration) when the data ranks cannot share the sequences, or when the
  /// case's balance scope needs one micro-batch a rank and gets more; kBadFile when the weights of
  /// the case do not fit its config.
  ParityRun(const GoldenCase& golden, const parallel::DeviceMesh& mesh,
            const ParityOptions& options, std::shared_ptr<parallel::FaultInjection> fault);

  /// Bounds of the comparison (issue: parity): logits, loss, auxiliary and z value and norm within
  /// 1e-5 * max(1, largest reference); gradients within 2e-5 of the tensor's largest, exactly zero
  /// where the reference is; AdamW losses within 2e-5; dropped counts equal; final weights within
  /// 5e-6 root mean square a tensor. Collective; every rank returns the same list.
  std::vector<Comparison> run();

  /// JSON of this rank: the sequences it held, the experts it owned, its parameter bytes and the
  /// payload bytes it has sent.
  std::string rank_json();

 private:
  void load_weights();
  Comparison compare_logits();
  void compare_first_step(std::vector<Comparison>& comparisons);
  Comparison compare_gradients();
  Comparison compare_adamw_losses();
  Comparison compare_final_weights();
  double total_loss(const StepMetrics& metrics) const;

  const GoldenCase& golden_;
  const parallel::DeviceMesh& mesh_;
  moe::StepShape shape_;
  std::vector<moe::MicroBatch> micro_batches_;
  std::unique_ptr<TrainingState> state_;
};

}  // namespace moesaic::trainer
