// A micro-batch: whole sequences of the global batch, as the model takes them.
// Shapes: B sequences, S positions.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "kernels/ops.h"

namespace moesaic::moe {

/// The label that is not counted, Hugging Face's ignore_index.
using kernels::kIgnoredTarget;

struct MicroBatch {
  at::Tensor input_ids_BS;  ///< int64 [B, S]
  at::Tensor targets_BS;    ///< int64 [B, S]: the token that position s predicts, or kIgnoredTarget
  int64_t first_sequence = 0;  ///< index of row 0 in the global batch
};

}  // namespace moesaic::moe
