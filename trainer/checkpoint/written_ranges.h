// Which rank writes which bytes of which file, known to all ranks before the first byte is written,
// and the reading back that proves it was done.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "parallel/communicator.h"
#include "trainer/checkpoint/checkpoint_writer.h"
#include "trainer/checkpoint/manifest.h"

namespace moesaic::trainer {

/// A run of bytes of a planned file: where it goes, where it is in memory and what it hashes to.
struct FileRange {
  int64_t file_idx;
  int64_t begin;
  int64_t num_bytes;
  Hash128 hash;
};

/// A FileRange of this rank.
struct OwnedRange {
  FileRange range;
  const char* data;
};

/// This rank's ranges by position; rank 0 also owns the headers. Throws ExitError(kInternal) for a
/// range outside of its tensor.
std::vector<OwnedRange> owned_ranges(const CheckpointPlan& plan,
                                     const std::vector<TensorBytes>& bytes, int rank);

/// Collective. All ranks' ranges by position. Throws the same ExitError(kInternal) on every rank
/// when they do not cover every byte of every planned file exactly once.
std::vector<FileRange> gather_ranges(parallel::Communicator& communicator,
                                     const CheckpointPlan& plan,
                                     const std::vector<OwnedRange>& owned);

/// What reading a file back has shown.
struct VerifiedFile {
  ManifestFile file;
  std::vector<TensorDigest> tensors;
};

/// Reads a planned file from the device and hashes it. Throws ExitError(kStorage) when a range does
/// not hold what its owner had in memory. `ranges` are gather_ranges' result.
VerifiedFile verify_written_file(FileOperations& operations, const std::filesystem::path& folder,
                                 const CheckpointPlan& plan, int64_t file_idx,
                                 const std::vector<FileRange>& ranges);

/// The bytes and the hash of a file as it is on the device. Throws ExitError(kStorage).
ManifestFile hash_file(FileOperations& operations, const std::filesystem::path& path);

}  // namespace moesaic::trainer
