// The small files of a checkpoint beside its tensors: what Hugging Face reads (config.json,
// generation_config.json, the tokenizer) and the state of the run (trainer.json).
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "parallel/communicator.h"
#include "trainer/checkpoint/checkpoint_writer.h"
#include "trainer/config/config.h"

namespace moesaic::trainer {

/// trainer.json: all that a resumed run must know beside weights and moments. Order of data and
/// random draws are functions of seed and step, so they need no state.
struct RunState {
  int64_t step = 0;              ///< optimiser steps done, skipped ones included
  int64_t num_tokens = 0;        ///< consumed
  int64_t num_updates = 0;       ///< AdamW's count
  int64_t skipped_in_a_row = 0;  ///< the window of trainer.max_skipped_steps
  std::string data_fingerprint;
  std::string configuration;  ///< resolved YAML
};

/// All documents of a checkpoint. The tokenizer is that of model.from, where the run started from a
/// folder with one; else the built-in one for bytes, where the model's end token says that it
/// speaks bytes; else none. Throws ExitError when the tokenizer of model.from cannot be read.
std::vector<Document> checkpoint_documents(const RunState& run, const Config& config);

/// Reads trainer.json of a checkpoint. Collective; rank 0 reads. Throws ExitError(kStorage) on
/// every rank when it is missing, malformed or of another version.
RunState read_run_state(parallel::Communicator& world, const std::filesystem::path& folder);

/// Whether a model folder speaks the built-in byte tokens: its tokenizer.json is the built-in one,
/// or there is none and the config's end token is that of bytes.
bool speaks_bytes(const moe::ModelConfig& model, const std::filesystem::path& folder);

}  // namespace moesaic::trainer
