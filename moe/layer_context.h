// What a layer must know beyond its input: one object a micro-batch, handed down through the model.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "moe/load_balance.h"
#include "moe/routing_statistics.h"

namespace moesaic::moe {

struct LayerContext {
  int64_t num_sequences = 0;    ///< B of this micro-batch
  int64_t sequence_length = 0;  ///< S
  /// Index of the first token of this micro-batch in the stream of global tokens of the step: rows
  /// of the micro-batch are consecutive. For draws that must agree between layouts.
  int64_t first_token = 0;
  /// False in validation and generation: dropless, no auxiliary terms.
  bool training = false;
  AuxiliaryLosses* auxiliary = nullptr;     ///< null: no auxiliary terms
  RoutingStatistics* statistics = nullptr;  ///< null: nothing is counted
};

}  // namespace moesaic::moe
