// The validation data of one rank: every window of the validation sources once, in order.
//
// Invariant: every rank makes the same number of forward passes, because collectives must not
// depend on data; rows beyond the last window have no counted target.
#pragma once

#include <cstdint>
#include <memory>

#include "moe/model/micro_batch.h"
#include "trainer/data/token_windows.h"

namespace moesaic::trainer {

/// Shapes: B = micro_batch_size sequences of S = sequence_length tokens, also in the last batch.
class ValidationBatches {
 public:
  ValidationBatches(std::shared_ptr<const TokenWindows> windows, int64_t micro_batch_size,
                    int64_t data_rank, int64_t data_size);

  /// Forward passes, equal on all ranks: ceil(windows / (B * data_size)).
  int64_t num_passes() const { return num_passes_; }

  /// The batch of this rank in `pass` of [0, num_passes()): windows [first_sequence,
  /// first_sequence + B) with first_sequence = (pass * data_size + data_rank) * B. Rows beyond the
  /// last window hold token 0 and targets moe::kIgnoredTarget. Throws what TokenWindows::read does.
  moe::MicroBatch batch(int64_t pass) const;

 private:
  std::shared_ptr<const TokenWindows> windows_;
  int64_t micro_batch_size_;
  int64_t data_rank_;
  int64_t data_size_;
  int64_t num_passes_;
};

}  // namespace moesaic::trainer
