// Cross-entropy over a validation set, dropless, by all ranks together.
#pragma once

#include <cstdint>
#include <optional>

#include "moe/model/language_model.h"
#include "parallel/device_mesh.h"
#include "trainer/data/validation_batches.h"

namespace moesaic::trainer {

struct EvaluationResult {
  double loss = 0.0;  ///< nats a counted target
  int64_t num_targets = 0;
};

/// At most max_passes batches a rank; all of them when absent. Collective: every rank runs the same
/// number of forward passes. Every rank returns the same. Throws ExitError(kBadFile) on every rank
/// when there is no target.
EvaluationResult evaluate(moe::LanguageModel& model, const parallel::DeviceMesh& mesh,
                          const ValidationBatches& batches,
                          std::optional<int64_t> max_passes = std::nullopt);

}  // namespace moesaic::trainer
