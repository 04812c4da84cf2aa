// Megatron's indexed dataset, PREFIX.bin (tokens back to back) and PREFIX.idx (what lies where),
// read. Layout of .idx, little-endian: "MMIDIDX\0\0", u64 version 1, u8 dtype, u64 n sequences,
// u64 d, i32 lengths[n], i64 byte pointers[n], i64 document indices[d] (d - 1 documents), and
// optionally i8 modes[n].
// Invariant: a constructed dataset was checked whole, so .bin is one gapless stream of tokens.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "trainer/data/data_file.h"
#include "trainer/data/token_type.h"

namespace moesaic::trainer {

/// Tokens [first, first + count) of the stream.
struct TokenRange {
  int64_t first = 0;
  int64_t count = 0;
};

/// Holds two open files and a few numbers, not the index: 1e9 documents cost no memory.
/// All members may be called from several threads.
class IndexedDataset {
 public:
  /// Opens and validates PREFIX.idx and PREFIX.bin: magic, version, dtype, counts, both sizes
  /// exactly, lengths >= 0, pointers == prefix sums, document indices monotone from 0 to n, modes
  /// all text. Reads the whole .idx once. Throws ExitError: kNoInput if a file is missing, kBadFile
  /// with file, byte, rule and value if one of the rules does not hold.
  explicit IndexedDataset(std::string prefix);

  const std::string& prefix() const { return prefix_; }
  TokenType token_type() const { return token_type_; }
  int64_t num_tokens() const { return num_tokens_; }
  int64_t num_sequences() const { return num_sequences_; }
  int64_t num_documents() const { return num_document_indices_ - 1; }
  const DataFile& index_file() const { return index_; }
  const DataFile& token_file() const { return tokens_; }

  /// Where token `index` of the stream lies in PREFIX.bin.
  int64_t byte_of_token(int64_t index) const { return index * token_bytes(token_type_); }

  /// The tokens of document `index` in [0, num_documents()).
  TokenRange document(int64_t index) const;

  /// Fills `tokens` with the stream from token `first` on, whatever the type in the file.
  /// Throws ExitError: kBadFile if .bin became shorter, kStorage if the device fails.
  void read_tokens(int64_t first, std::span<int64_t> tokens) const;

 private:
  void read_header();
  void check_sequences();
  void check_documents() const;
  void check_modes() const;
  int64_t pointers_offset() const;
  int64_t documents_offset() const;
  int64_t modes_offset() const;

  std::string prefix_;
  DataFile index_;
  DataFile tokens_;
  TokenType token_type_ = TokenType::kUInt16;
  int64_t num_sequences_ = 0;
  int64_t num_document_indices_ = 0;
  int64_t num_tokens_ = 0;
};

}  // namespace moesaic::trainer
