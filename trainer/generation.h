// Samples text from a model, one token at a time, on any number of ranks.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "moe/model/language_model.h"

namespace moesaic::trainer {

struct GenerationOptions {
  int64_t max_new_tokens = 200;
  double temperature = 0.0;      ///< 0: greedy
  std::optional<int64_t> top_k;  ///< only the most likely tokens; none: all
  uint64_t seed = 0;
};

/// Continues `prompt` (at least one token) until an end token of the config or max_new_tokens. The
/// context is the last max_position_embeddings tokens. Greedy takes the lowest id of equal logits;
/// draws are f(seed, position). Collective over the mesh: all ranks compute the same tokens.
/// Returns the new tokens only, without the end token. Cost: one forward of the whole context for
/// each token.
std::vector<int64_t> generate(moe::LanguageModel& model, std::vector<int64_t> prompt,
                              const GenerationOptions& options);

}  // namespace moesaic::trainer
