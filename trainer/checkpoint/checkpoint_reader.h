// Loading: find the newest checkpoint that is whole, and let every rank read the bytes it wants.
// Any layout loads any layout: a rank names ranges of logical tensors, not files.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "parallel/communicator.h"
#include "trainer/checkpoint/checkpoint_folder.h"
#include "trainer/checkpoint/checkpoint_plan.h"
#include "trainer/checkpoint/tensor_folder.h"
#include "trainer/exit_code.h"

namespace moesaic::trainer {

/// Bytes [offset, offset + num_bytes) of the logical tensor `name` go to `data` in host memory.
struct TensorDestination {
  std::string name;
  int64_t offset;
  void* data;
  int64_t num_bytes;
};

/// Every file has the bytes and the hash that the manifest says, the tensors are well-formed, no
/// *.safetensors is there that the manifest does not list. Throws ExitError naming the file and the
/// rule: kStorage, or kBadFile for a malformed file that the manifest vouches for.
/// Cost: reads every byte.
Manifest validate_checkpoint(const std::filesystem::path& folder);

/// Collective. The newest step folder inside `checkpoints` that is valid, or nothing when there are
/// no step folders. Newer ones that are not are skipped: `on_skip` is called on every rank with the
/// folder and the reason. Rank 0 lists, the ranks share the files to hash, all agree.
/// Throws ExitError(kStorage) when there are step folders and none is valid: starting again from
/// nothing must be somebody's decision.
std::optional<CheckpointFolder> newest_valid(
    parallel::Communicator& communicator, const std::filesystem::path& checkpoints,
    const std::function<void(const std::filesystem::path& folder, const std::string& reason)>&
        on_skip);

/// Collective. Reads a step folder (validated before, by newest_valid or validate_checkpoint).
/// `expected`: every tensor of weights and optimizer state, the same on every rank.
/// Throws ExitError on every rank: kStorage naming the tensors that are missing, that are there but
/// not expected, or whose type or shape differs; kInternal naming tensors of which the ranks
/// together have not asked for every byte.
void load_checkpoint(parallel::Communicator& communicator, const std::filesystem::path& folder,
                     const std::vector<LogicalTensor>& expected,
                     const std::vector<TensorDestination>& destinations);

/// Collective. The text of a document (trainer.json ...) of a folder, read by rank 0.
/// Throws ExitError: kNoInput, kBadFile (above 64 MiB) or kStorage.
std::string read_document(parallel::Communicator& communicator, const std::filesystem::path& folder,
                          const std::string& name);

/// Compares what is there with what is expected, name by name: type, shape, missing, unexpected.
/// Throws ExitError(`code`) listing up to eight differences; `label` says where.
void check_tensors(const TensorFolder& tensors, const std::vector<LogicalTensor>& expected,
                   const std::string& label, ExitCode code);

}  // namespace moesaic::trainer
