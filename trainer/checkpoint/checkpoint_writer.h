// Saving: all ranks write one checkpoint together, or none of it counts.
//
// Order of events: temporary folder; every rank writes and flushes its ranges of the final files;
// every file is read back from the device, compared with what was in memory and hashed; manifest;
// rename; `latest`; retention. Invariant: a kill at any instant leaves the old checkpoint or the
// new one, and an error on any rank is the same ExitError(kStorage) on all, with nothing left
// behind.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "parallel/communicator.h"
#include "trainer/checkpoint/checkpoint_plan.h"
#include "trainer/checkpoint/content_hash.h"
#include "trainer/checkpoint/file_operations.h"

namespace moesaic::trainer {

/// A small file that is given as text: config.json, tokenizer.json, trainer.json ...
struct Document {
  std::string name;
  std::string text;
};

/// Bytes [offset, offset + num_bytes) of the logical tensor `name`, in host memory.
struct TensorBytes {
  std::string name;
  int64_t offset;
  const void* data;
  int64_t num_bytes;
};

struct SaveRequest {
  std::filesystem::path checkpoints;  ///< the folder that holds the step folders; made if missing
  int64_t step = 0;
  std::string run_id;                    ///< rank 0's counts; empty: make_run_id()
  const CheckpointPlan* plan = nullptr;  ///< the same on every rank
  std::vector<Document> documents;       ///< rank 0's are written
  std::vector<TensorBytes> bytes;        ///< what this rank owns; exactly one rank owns each byte
  std::optional<int64_t> keep_last;      ///< empty: keep all
  /// Folders that this run has found invalid: removed with the old ones, never counted as kept.
  std::vector<std::filesystem::path> known_invalid;
  /// Called on every rank, in this order, with save.begin, save.after_write, save.before_manifest,
  /// save.before_rename, save.after_rename, save.before_latest. No rank passes a phase before all
  /// have reached it (the last two count as one), and what the name says "after" is done on all. An
  /// exception counts as a failure to save.
  std::function<void(const char* phase)> at_phase;
  FileOperations* operations = nullptr;  ///< nullptr: FileOperations::system()
};

struct SavedCheckpoint {
  std::filesystem::path path;
  int64_t num_bytes;
  Hash128 tensors;                    ///< what `checkpoint info` prints
  std::vector<std::string> warnings;  ///< rank 0: old folders that could not be removed
};

/// Collective. Writes <checkpoints>/step-<step>, replacing one of the same step, and makes `latest`
/// name it. Afterwards, of the folders up to this step only the newest `keep_last` remain (folders
/// of later steps, which this run must have found invalid, are never touched), and leftovers of
/// dead runs are removed.
///
/// Throws ExitError on every rank: kInternal when the ranges do not cover every tensor exactly once
/// (before anything is written), kStorage when a rank could not write.
/// Cost: every byte written once and read once; the reading is shared by files.
SavedCheckpoint save_checkpoint(parallel::Communicator& communicator, const SaveRequest& request);

}  // namespace moesaic::trainer
