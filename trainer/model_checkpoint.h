// Connects a training state with checkpoints: which bytes of which tensor this rank owns, and the
// state of the run beside them (trainer.json).
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "trainer/checkpoint/checkpoint_writer.h"
#include "trainer/checkpoint/tensor_folder.h"
#include "trainer/config/config.h"
#include "trainer/training_state.h"

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

/// Saves checkpoints/step-<step> as a Hugging Face folder. Collective over the world. The bytes are
/// shared among the replicas of each parameter. Throws ExitError(kStorage) on all ranks alike.
SavedCheckpoint save_training_checkpoint(TrainingState& state, const RunState& run,
                                         const Config& config,
                                         const std::filesystem::path& checkpoints);

/// Reads weights, moments and trainer.json of a validated checkpoint into the state, whatever
/// layout wrote it. Every rank reads its own byte ranges. Throws ExitError(kStorage) naming tensors
/// that are missing, surplus or of another shape or type.
RunState load_training_checkpoint(TrainingState& state, const std::filesystem::path& folder);

/// Reads weights only, from any Hugging Face folder of the model's family; float32, bfloat16 and
/// float16 files are converted. Throws ExitError as above, but kBadFile.
void load_weights(moe::LanguageModel& model, const std::filesystem::path& folder);

/// Builds the model of a Hugging Face folder (config.json and weights) for evaluation or
/// generation; of `config` it takes parallel, trainer.precision and debug. Collective over the
/// mesh. Throws ExitError as read_model_config and load_weights do.
std::unique_ptr<moe::LanguageModel> load_model(const std::filesystem::path& folder,
                                               const Config& config,
                                               const parallel::DeviceMesh& mesh);

}  // namespace moesaic::trainer
