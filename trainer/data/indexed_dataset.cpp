#include "trainer/data/indexed_dataset.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <limits>
#include <utility>
#include <vector>

#include "trainer/exit_code.h"

namespace moesaic::trainer {

namespace {

constexpr char kMagic[9] = {'M', 'M', 'I', 'D', 'I', 'D', 'X', '\0', '\0'};
constexpr int64_t kVersionOffset = 9;
constexpr int64_t kTypeOffset = 17;
constexpr int64_t kSequenceCountOffset = 18;
constexpr int64_t kDocumentCountOffset = 26;
constexpr int64_t kHeaderBytes = 34;
constexpr int64_t kChunk = 1 << 16;  // entries of the index, or tokens, read at a time

template <typename Number>
Number read_number(const DataFile& file, int64_t offset) {
  Number number{};
  file.read_numbers(offset, std::span(&number, 1));
  return number;
}

// PREFIX itself, or a message that helps where a file of the pair was named instead.
std::string checked_prefix(std::string prefix) {
  const bool has_suffix = prefix.ends_with(".bin") || prefix.ends_with(".idx");
  if (has_suffix && !std::filesystem::exists(prefix + ".idx")) {
    throw ExitError(ExitCode::kNoInput, prefix + ": name the data set without .bin or .idx: " +
                                            prefix.substr(0, prefix.size() - 4));
  }
  return prefix;
}

template <typename Number>
void convert_tokens(const DataFile& file, int64_t first, std::span<int64_t> tokens) {
  std::vector<Number> chunk(std::min<size_t>(tokens.size(), kChunk));
  for (size_t done = 0; done < tokens.size();) {
    const auto part = std::span(chunk).first(std::min(chunk.size(), tokens.size() - done));
    const auto offset = (first + static_cast<int64_t>(done)) * static_cast<int64_t>(sizeof(Number));
    file.read_numbers(offset, part);
    std::copy(part.begin(), part.end(), tokens.begin() + static_cast<int64_t>(done));
    done += part.size();
  }
}

}  // namespace

IndexedDataset::IndexedDataset(std::string prefix)
    : prefix_(checked_prefix(std::move(prefix))),
      index_(prefix_ + ".idx"),
      tokens_(prefix_ + ".bin") {
  read_header();
  check_sequences();
  check_documents();
  check_modes();
}

int64_t IndexedDataset::pointers_offset() const {
  return kHeaderBytes + 4 * num_sequences_;
}
int64_t IndexedDataset::documents_offset() const {
  return pointers_offset() + 8 * num_sequences_;
}
int64_t IndexedDataset::modes_offset() const {
  return documents_offset() + 8 * num_document_indices_;
}

void IndexedDataset::read_header() {
  const auto& path = index_.path();
  if (index_.size() < kHeaderBytes) {
    throw_bad_data(path, 0, "the header takes 34 bytes", std::to_string(index_.size()));
  }
  char magic[sizeof(kMagic)];
  index_.read_numbers(0, std::span<char>(magic));
  if (std::memcmp(magic, kMagic, sizeof(kMagic)) != 0) {
    throw_bad_data(path, 0, "a Megatron index begins with MMIDIDX and two zero bytes",
                   "something else");
  }
  const auto version = read_number<uint64_t>(index_, kVersionOffset);
  if (version != 1) {
    throw_bad_data(path, kVersionOffset, "version must be 1", std::to_string(version));
  }
  const auto type = read_number<uint8_t>(index_, kTypeOffset);
  if (!is_token_type(type)) {
    throw_bad_data(path, kTypeOffset,
                   "dtype must be an integer type (1 uint8, 2 int8, 3 int16, 4 int32, 5 int64, "
                   "8 uint16)",
                   "code " + std::to_string(type));
  }
  token_type_ = static_cast<TokenType>(type);

  // Counts are compared by division with what the file can hold, so that no product overflows.
  const auto room = static_cast<uint64_t>(index_.size() - kHeaderBytes);
  const auto sequences = read_number<uint64_t>(index_, kSequenceCountOffset);
  if (sequences > room / 12) {
    throw_bad_data(path, kSequenceCountOffset,
                   "sequence count must fit the file (at most " + std::to_string(room / 12) + ")",
                   std::to_string(sequences));
  }
  const auto room_for_documents = room - 12 * sequences;
  const auto documents = read_number<uint64_t>(index_, kDocumentCountOffset);
  if (documents == 0 || documents > room_for_documents / 8) {
    throw_bad_data(path, kDocumentCountOffset,
                   "document index count must be 1 to " + std::to_string(room_for_documents / 8) +
                       " in a file of this size",
                   std::to_string(documents));
  }
  const auto rest = room_for_documents - 8 * documents;
  if (rest != 0 && rest != sequences) {
    const auto exact = kHeaderBytes + 12 * sequences + 8 * documents;
    throw_bad_data(path, static_cast<int64_t>(exact),
                   "the file must end here, or after one mode byte a sequence",
                   std::to_string(rest) + " more bytes");
  }
  num_sequences_ = static_cast<int64_t>(sequences);
  num_document_indices_ = static_cast<int64_t>(documents);
}

void IndexedDataset::check_sequences() {
  const int64_t size_of_token = token_bytes(token_type_);
  const int64_t most_tokens = std::numeric_limits<int64_t>::max() / size_of_token;
  std::vector<int32_t> lengths(static_cast<size_t>(std::min(kChunk, num_sequences_)));
  std::vector<int64_t> pointers(lengths.size());
  for (int64_t begin = 0; begin < num_sequences_; begin += kChunk) {
    const auto count = static_cast<size_t>(std::min(kChunk, num_sequences_ - begin));
    const int64_t length_byte = kHeaderBytes + 4 * begin;
    const int64_t pointer_byte = pointers_offset() + 8 * begin;
    index_.read_numbers(length_byte, std::span(lengths).first(count));
    index_.read_numbers(pointer_byte, std::span(pointers).first(count));
    for (size_t i = 0; i < count; ++i) {
      const auto which = [&] {
        return " of sequence " + std::to_string(begin + static_cast<int64_t>(i));
      };
      if (lengths[i] < 0 || lengths[i] > most_tokens - num_tokens_) {
        throw_bad_data(index_.path(), length_byte + 4 * static_cast<int64_t>(i),
                       "length" + which() + " must be >= 0 and the sum fit 63 bits",
                       std::to_string(lengths[i]));
      }
      if (pointers[i] != num_tokens_ * size_of_token) {
        throw_bad_data(index_.path(), pointer_byte + 8 * static_cast<int64_t>(i),
                       "pointer" + which() + " must be the bytes of the sequences before it, " +
                           std::to_string(num_tokens_ * size_of_token),
                       std::to_string(pointers[i]));
      }
      num_tokens_ += lengths[i];
    }
  }
  const int64_t expected = num_tokens_ * size_of_token;
  if (tokens_.size() != expected) {
    throw_bad_data(tokens_.path(), std::min(tokens_.size(), expected),
                   "must hold exactly the " + std::to_string(num_tokens_) + " " +
                       token_type_name(token_type_) + " tokens of its .idx, " +
                       std::to_string(expected) + " bytes",
                   std::to_string(tokens_.size()));
  }
}

void IndexedDataset::check_documents() const {
  std::vector<int64_t> indices(static_cast<size_t>(std::min(kChunk, num_document_indices_)));
  int64_t previous = 0;
  for (int64_t begin = 0; begin < num_document_indices_; begin += kChunk) {
    const auto count = static_cast<size_t>(std::min(kChunk, num_document_indices_ - begin));
    const int64_t byte = documents_offset() + 8 * begin;
    index_.read_numbers(byte, std::span(indices).first(count));
    for (size_t i = 0; i < count; ++i) {
      const int64_t offset = byte + 8 * static_cast<int64_t>(i);
      const auto value = [&] { return std::to_string(indices[i]); };
      if (offset == documents_offset() && indices[i] != 0) {
        throw_bad_data(index_.path(), offset, "the first document index must be 0", value());
      }
      if (indices[i] < previous) {
        throw_bad_data(
            index_.path(), offset,
            "document indices must not decrease (before: " + std::to_string(previous) + ")",
            value());
      }
      previous = indices[i];
    }
  }
  if (previous != num_sequences_) {
    throw_bad_data(index_.path(), documents_offset() + 8 * (num_document_indices_ - 1),
                   "the last document index must be the number of sequences, " +
                       std::to_string(num_sequences_),
                   std::to_string(previous));
  }
}

void IndexedDataset::check_modes() const {
  std::vector<int8_t> modes(static_cast<size_t>(std::min(kChunk, index_.size() - modes_offset())));
  for (int64_t begin = modes_offset(); begin < index_.size(); begin += kChunk) {
    const auto part =
        std::span(modes).first(static_cast<size_t>(std::min(kChunk, index_.size() - begin)));
    index_.read_numbers(begin, part);
    const auto wrong = std::find_if(part.begin(), part.end(), [](int8_t mode) { return mode; });
    if (wrong != part.end()) {
      throw_bad_data(index_.path(), begin + (wrong - part.begin()),
                     "every sequence must be text, mode 0", std::to_string(*wrong));
    }
  }
}

TokenRange IndexedDataset::document(int64_t index) const {
  // A sequence index may be n (an empty last document): then the pointer is the end of the stream.
  const auto first_token = [&](int64_t sequence) {
    return sequence == num_sequences_
               ? num_tokens_
               : read_number<int64_t>(index_, pointers_offset() + 8 * sequence) /
                     token_bytes(token_type_);
  };
  int64_t sequences[2];
  const int64_t offset = documents_offset() + 8 * index;
  index_.read_numbers(offset, std::span<int64_t>(sequences));
  const int64_t first = first_token(sequences[0]);
  const int64_t end = first_token(sequences[1]);
  if (first < 0 || end < first || end > num_tokens_) {
    throw_bad_data(index_.path(), offset, "the index must not change while it is in use",
                   "tokens " + std::to_string(first) + " to " + std::to_string(end));
  }
  return {first, end - first};
}

void IndexedDataset::read_tokens(int64_t first, std::span<int64_t> tokens) const {
  switch (token_type_) {
    case TokenType::kUInt8:
      return convert_tokens<uint8_t>(tokens_, first, tokens);
    case TokenType::kInt8:
      return convert_tokens<int8_t>(tokens_, first, tokens);
    case TokenType::kInt16:
      return convert_tokens<int16_t>(tokens_, first, tokens);
    case TokenType::kInt32:
      return convert_tokens<int32_t>(tokens_, first, tokens);
    case TokenType::kInt64:
      return convert_tokens<int64_t>(tokens_, first, tokens);
    case TokenType::kUInt16:
      return convert_tokens<uint16_t>(tokens_, first, tokens);
  }
}

}  // namespace moesaic::trainer
