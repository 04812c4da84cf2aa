// Samples: windows of sequence_length + 1 tokens over the concatenated tokens of all sources.
//
// Window i begins at token i * sequence_length, so that its last token is the first of window i + 1
// and every token but the first is predicted exactly once an epoch. Windows cross documents and
// sources; the end token in the text marks where. What is left over after the last whole window is
// not used.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "trainer/data/indexed_dataset.h"

namespace moesaic::trainer {

/// All members may be called from several threads.
class TokenWindows {
 public:
  /// Opens and validates every source (see IndexedDataset). prefixes: path of a .bin/.idx pair
  /// without the suffix, one or more. sequence_length and vocab_size >= 1.
  /// Throws ExitError: kConfiguration without a source, kNoInput, kBadFile; also kBadFile if all
  /// sources together are shorter than one window.
  TokenWindows(const std::vector<std::string>& prefixes, int64_t sequence_length,
               int64_t vocab_size);

  /// Windows an epoch, floor((tokens - 1) / sequence_length) >= 1.
  int64_t size() const { return size_; }
  int64_t sequence_length() const { return sequence_length_; }
  int64_t num_tokens() const { return source_begins_.back(); }
  const std::vector<std::unique_ptr<IndexedDataset>>& sources() const { return sources_; }

  /// Fills `tokens`, sequence_length + 1 long, with window `index` in [0, size()): the inputs are
  /// all but the last, the targets all but the first. Throws ExitError(kBadFile) with file and byte
  /// if an id is not in [0, vocab_size), and what IndexedDataset::read_tokens throws.
  void read(int64_t index, std::span<int64_t> tokens) const;

  /// The fingerprint of all sources in order (see DatasetFingerprint).
  std::string fingerprint() const;

 private:
  void read_from_source(size_t source, int64_t first, std::span<int64_t> tokens) const;

  int64_t sequence_length_;
  int64_t vocab_size_;
  std::vector<std::unique_ptr<IndexedDataset>> sources_;
  std::vector<int64_t> source_begins_;  // first token of each source in the stream, then the end
  int64_t size_ = 0;
};

}  // namespace moesaic::trainer
