// Writes Megatron's indexed dataset, byte for byte as its IndexedDatasetBuilder does with one
// sequence a document.
// Invariant: PREFIX.idx exists only next to the .bin that belongs to it, also after a kill.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "trainer/data/token_type.h"

namespace moesaic::trainer {

/// Writes to temporary files beside PREFIX until finish(); without finish() nothing is left.
/// Costs 4 bytes of memory a document. Not thread-safe.
class IndexedDatasetWriter {
 public:
  /// Creates the temporary files and the folder they lie in. Throws ExitError(kStorage).
  IndexedDatasetWriter(std::string prefix, TokenType token_type);
  ~IndexedDatasetWriter();
  IndexedDatasetWriter(const IndexedDatasetWriter&) = delete;
  IndexedDatasetWriter& operator=(const IndexedDatasetWriter&) = delete;

  /// Appends to the current document. Throws ExitError: kBadFile if an id does not fit the type or
  /// the document exceeds the 2^31 - 1 tokens of the format, kStorage if the disk is full.
  void add_tokens(std::span<const int64_t> tokens);
  /// Ends the current document, which may be empty.
  void end_document();
  /// Writes the index, syncs both files and renames them to PREFIX.bin and PREFIX.idx.
  /// Every document must have been ended. Throws ExitError(kStorage).
  void finish();

  int64_t num_tokens() const { return num_tokens_; }
  int64_t num_documents() const { return static_cast<int64_t>(lengths_.size()); }

 private:
  void flush_tokens();
  void write_index();

  std::string prefix_;
  TokenType token_type_;
  std::string temporary_tokens_;
  std::string temporary_index_;
  int tokens_descriptor_ = -1;
  std::vector<char> buffer_;
  std::vector<int32_t> lengths_;
  int64_t document_tokens_ = 0;
  int64_t num_tokens_ = 0;
};

}  // namespace moesaic::trainer
