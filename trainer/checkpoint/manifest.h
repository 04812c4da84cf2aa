// manifest.json: every file of a checkpoint with its bytes and xxh3-128. It is the last file to be
// written; a step folder without a valid one is no checkpoint.
// Invariant: the text is canonical and carries its own checksum, so that any change shows.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>

#include "trainer/checkpoint/content_hash.h"

namespace moesaic::trainer {

inline constexpr int64_t kCheckpointFormatVersion = 1;
inline constexpr const char* kManifestName = "manifest.json";

struct ManifestFile {
  int64_t num_bytes;
  Hash128 hash;
};

struct Manifest {
  int64_t step = 0;
  Hash128 tensors;  ///< hash_tensors over weights and optimizer state
  std::map<std::string, ManifestFile> files;

  int64_t num_bytes() const;
};

/// True for 1 to 255 of [A-Za-z0-9_.-] that do not start with a dot: a name inside the folder.
bool is_plain_file_name(std::string_view name);

std::string manifest_text(const Manifest& manifest);
/// Throws ExitError(kStorage) naming `label` and the broken rule.
Manifest parse_manifest(const std::string& text, const std::string& label);
/// Reads <folder>/manifest.json. Throws ExitError(kStorage).
Manifest read_manifest(const std::filesystem::path& folder);

}  // namespace moesaic::trainer
