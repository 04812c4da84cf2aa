// Connects a training state with checkpoints: which bytes of which tensor this rank owns.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <vector>

#include "trainer/checkpoint/tensor_folder.h"
#include "trainer/checkpoint_documents.h"
#include "trainer/config/config.h"
#include "trainer/timed_fault.h"
#include "trainer/training_state.h"

namespace moesaic::trainer {

/// What a save needs beside the state.
struct SaveOptions {
  std::vector<std::filesystem::path> known_invalid;  ///< not counted by checkpoint.keep_last
  TimedFault* fault = nullptr;                       ///< debug.fault; may be null
};

/// Saves checkpoints/step-<step> as a Hugging Face folder. Collective over the world. The bytes are
/// shared among the replicas of each parameter. Throws ExitError(kStorage) on all ranks alike.
SavedCheckpoint save_training_checkpoint(TrainingState& state, const RunState& run,
                                         const Config& config,
                                         const std::filesystem::path& checkpoints,
                                         const SaveOptions& options = {});

/// Reads weights and moments of a validated checkpoint into the state, whatever layout wrote it;
/// `run` is what read_run_state found in the same folder. Collective over the world. Every rank
/// reads its own byte ranges. Throws ExitError(kStorage) naming tensors that are missing, surplus
/// or of another shape or type.
void load_training_checkpoint(TrainingState& state, const RunState& run,
                              const std::filesystem::path& folder);

/// Reads weights only, from any Hugging Face folder of the model's family; float32, bfloat16 and
/// float16 files are converted. Throws ExitError as above, but kBadFile.
void load_weights(moe::LanguageModel& model, const std::filesystem::path& folder);

/// Builds the model of a Hugging Face folder (config.json and weights) for evaluation or
/// generation, on `device`; of `config` it takes parallel, trainer.precision and debug. Collective
/// over the mesh. Throws ExitError as read_model_config and load_weights do.
std::unique_ptr<moe::LanguageModel> load_model(const std::filesystem::path& folder,
                                               const Config& config,
                                               const parallel::DeviceMesh& mesh, at::Device device);

}  // namespace moesaic::trainer
