// The training data of one rank: for every step, its micro-batches of the global batch.
//
// Position p of step s is sample order(s * global_batch_size + p), micro-batch m holds positions
// [m * b, (m + 1) * b), and data rank r of W takes the micro-batches [r * M / W, (r + 1) * M / W).
// Invariant: the global batch of a step depends on seed, step and data alone, never on the layout,
// so the step is the whole position and nothing has to be saved.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "moe/model/micro_batch.h"
#include "trainer/data/prefetcher.h"
#include "trainer/data/sample_order.h"
#include "trainer/data/token_windows.h"

namespace moesaic::trainer {

struct DataLoaderOptions {
  int64_t global_batch_size = 1;  ///< sequences a step, over all ranks
  int64_t micro_batch_size = 1;   ///< sequences a forward pass
  uint64_t seed = 0;
  int64_t prefetch_depth = 2;  ///< steps that are loaded ahead
};

/// Shapes: B = micro_batch_size sequences of S = sequence_length tokens.
class DataLoader {
 public:
  /// Throws ExitError(kConfiguration) unless global_batch_size = micro_batch_size x a multiple of
  /// data_size.
  DataLoader(std::shared_ptr<const TokenWindows> windows, const DataLoaderOptions& options,
             int64_t data_rank, int64_t data_size);

  /// The micro-batches of this rank for `step` >= 0, in order, as int64 tensors [B, S]; all targets
  /// count. Cheap when steps come in a row (prefetched), correct for any step. Not a collective.
  /// Throws ExitError as TokenWindows::read does, in the step that holds the bad window.
  std::vector<moe::MicroBatch> next(int64_t step) { return prefetcher_.next(step); }

  /// Micro-batches a step on each rank.
  int64_t num_micro_batches() const { return num_micro_batches_; }
  /// The epoch in which a step begins.
  int64_t epoch(int64_t step) const { return step * options_.global_batch_size / windows_->size(); }

 private:
  std::vector<moe::MicroBatch> load(int64_t step) const;
  moe::MicroBatch load_micro_batch(int64_t step, int64_t micro_batch) const;

  std::shared_ptr<const TokenWindows> windows_;
  DataLoaderOptions options_;
  SampleOrder order_;
  int64_t num_micro_batches_ = 0;
  int64_t first_micro_batch_ = 0;
  Prefetcher<std::vector<moe::MicroBatch>> prefetcher_;  // the last member: it calls load()
};

}  // namespace moesaic::trainer
