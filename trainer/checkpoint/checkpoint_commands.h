// moesaic checkpoint list | info | check: what a user asks of checkpoints from the command line.
#pragma once

#include <filesystem>

namespace moesaic::trainer {

/// One process, no communicator. All print to stdout and return an exit code, or throw ExitError
/// (kNoInput when the path is not there).

/// `path`: a run folder or its checkpoints folder. One line a checkpoint: step, tokens, bytes,
/// hash, and "valid" or the reason why not. Cost: reads every byte.
int checkpoint_list_command(const std::filesystem::path& path);

/// `path`: a step folder, a Hugging Face folder or one .safetensors file. Prints tensors,
/// parameters (elements of the weights), bytes and "hash: <hex>" over all tensors. A bad file is
/// kBadFile.
int checkpoint_info_command(const std::filesystem::path& path);

/// `path`: what info takes, or a run folder (all of its checkpoints). Verifies everything there is
/// to verify; the first thing that is wrong is named: kStorage or kBadFile.
int checkpoint_check_command(const std::filesystem::path& path);

}  // namespace moesaic::trainer
