// Windows of tokens as rows of a micro-batch: inputs, and targets shifted by one.
// Shapes: B sequences, S positions.
#pragma once

#include <cstdint>

#include "moe/model/micro_batch.h"
#include "trainer/data/token_windows.h"

namespace moesaic::trainer {

/// A micro-batch whose rows are still to be filled: int64 [batch_size, windows.sequence_length()].
moe::MicroBatch make_micro_batch(const TokenWindows& windows, int64_t batch_size);

/// Reads window `window` into row `row`. Throws what TokenWindows::read does.
void read_row(const TokenWindows& windows, int64_t window, moe::MicroBatch& batch, int64_t row);

/// Makes `row` a row without a counted target: token 0, targets moe::kIgnoredTarget.
void ignore_row(moe::MicroBatch& batch, int64_t row);

}  // namespace moesaic::trainer
