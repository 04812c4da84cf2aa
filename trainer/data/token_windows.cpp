#include "trainer/data/token_windows.h"

#include <algorithm>
#include <limits>
#include <stdexcept>

#include "trainer/data/dataset_fingerprint.h"
#include "trainer/exit_code.h"

namespace moesaic::trainer {

TokenWindows::TokenWindows(const std::vector<std::string>& prefixes, int64_t sequence_length,
                           int64_t vocab_size)
    : sequence_length_(sequence_length), vocab_size_(vocab_size), source_begins_{0} {
  if (sequence_length < 1 || vocab_size < 1) {
    throw std::invalid_argument("TokenWindows: sequence_length and vocab_size must be >= 1, got " +
                                std::to_string(sequence_length) + " and " +
                                std::to_string(vocab_size));
  }
  if (prefixes.empty()) {
    throw ExitError(ExitCode::kConfiguration, "data: at least one source is needed, found none");
  }
  std::string names;
  for (const auto& prefix : prefixes) {
    sources_.push_back(std::make_unique<IndexedDataset>(prefix));
    const int64_t tokens = sources_.back()->num_tokens();
    if (tokens > std::numeric_limits<int64_t>::max() - source_begins_.back()) {
      throw ExitError(ExitCode::kBadFile, prefix + ": all sources together exceed 2^63 tokens");
    }
    source_begins_.push_back(source_begins_.back() + tokens);
    names += (names.empty() ? "" : ", ") + prefix;
  }
  size_ = std::max<int64_t>(0, num_tokens() - 1) / sequence_length;
  if (size_ == 0) {
    throw ExitError(ExitCode::kBadFile, names + ": one sample takes sequence_length + 1 = " +
                                            std::to_string(sequence_length + 1) +
                                            " tokens, found " + std::to_string(num_tokens()));
  }
}

void TokenWindows::read(int64_t index, std::span<int64_t> tokens) const {
  if (index < 0 || index >= size_ || std::ssize(tokens) != sequence_length_ + 1) {
    throw std::out_of_range("TokenWindows: window " + std::to_string(index) + " of " +
                            std::to_string(size_) + " into " + std::to_string(tokens.size()) +
                            " tokens");
  }
  int64_t first = index * sequence_length_;
  auto next = std::upper_bound(source_begins_.begin(), source_begins_.end(), first);
  while (!tokens.empty()) {
    const auto source = static_cast<size_t>(next - source_begins_.begin()) - 1;
    const auto count = std::min<int64_t>(std::ssize(tokens), *next - first);
    read_from_source(source, first - source_begins_[source],
                     tokens.first(static_cast<size_t>(count)));
    tokens = tokens.subspan(static_cast<size_t>(count));
    first += count;
    ++next;
  }
}

void TokenWindows::read_from_source(size_t source, int64_t first, std::span<int64_t> tokens) const {
  const IndexedDataset& dataset = *sources_[source];
  dataset.read_tokens(first, tokens);
  const auto wrong = std::find_if(tokens.begin(), tokens.end(),
                                  [&](int64_t token) { return token < 0 || token >= vocab_size_; });
  if (wrong != tokens.end()) {
    throw_bad_data(dataset.token_file().path(),
                   dataset.byte_of_token(first + (wrong - tokens.begin())),
                   "a token id must be below the vocabulary size " + std::to_string(vocab_size_) +
                       " and not negative",
                   std::to_string(*wrong));
  }
}

std::string TokenWindows::fingerprint() const {
  DatasetFingerprint fingerprint;
  for (const auto& source : sources_) {
    fingerprint.add(*source);
  }
  return fingerprint.hex();
}

}  // namespace moesaic::trainer
