#include "trainer/data/data_commands.h"

#include <algorithm>
#include <iostream>
#include <limits>
#include <string_view>

#include "trainer/data/byte_tokenizer.h"
#include "trainer/data/dataset_fingerprint.h"
#include "trainer/data/indexed_dataset.h"
#include "trainer/data/indexed_dataset_writer.h"
#include "trainer/data/text_documents.h"
#include "trainer/exit_code.h"

namespace moesaic::trainer {

namespace {

constexpr int64_t kScanTokens = 1 << 20;
constexpr int64_t kSampleTokens = 160;

struct TokenBounds {
  int64_t smallest = std::numeric_limits<int64_t>::max();
  int64_t largest = std::numeric_limits<int64_t>::min();
};

void check_token(const IndexedDataset& dataset, int64_t index, int64_t token,
                 const std::optional<int64_t>& vocab_size) {
  if (token < 0 || (vocab_size && token >= *vocab_size)) {
    const auto bound = vocab_size ? std::to_string(*vocab_size) : std::string("any vocabulary");
    throw_bad_data(dataset.token_file().path(), dataset.byte_of_token(index),
                   "a token id must be below the vocabulary size (" + bound + ") and not negative",
                   std::to_string(token));
  }
}

TokenBounds scan_tokens(const IndexedDataset& dataset, const std::optional<int64_t>& vocab_size) {
  TokenBounds bounds;
  std::vector<int64_t> tokens(static_cast<size_t>(std::min(kScanTokens, dataset.num_tokens())));
  for (int64_t first = 0; first < dataset.num_tokens(); first += kScanTokens) {
    const auto count = std::min(kScanTokens, dataset.num_tokens() - first);
    const auto part = std::span(tokens).first(static_cast<size_t>(count));
    dataset.read_tokens(first, part);
    for (size_t i = 0; i < part.size(); ++i) {
      check_token(dataset, first + static_cast<int64_t>(i), part[i], vocab_size);
      bounds.smallest = std::min(bounds.smallest, part[i]);
      bounds.largest = std::max(bounds.largest, part[i]);
    }
  }
  return bounds;
}

// On one line of a terminal: control characters as escapes.
std::string printable(std::string_view text) {
  std::string line;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '\n') {
      line += "\\n";
    } else if (byte < 0x20 || byte == 0x7F) {
      line += "\\x";
      line += "0123456789abcdef"[byte >> 4];
      line += "0123456789abcdef"[byte & 15];
    } else {
      line += c;
    }
  }
  return line;
}

// The beginning of the first document that has tokens.
std::string sample_of(const IndexedDataset& dataset, bool is_bytes) {
  std::vector<int64_t> ids(static_cast<size_t>(std::min(kSampleTokens, dataset.num_tokens())));
  for (int64_t document = 0; document < dataset.num_documents(); ++document) {
    const auto range = dataset.document(document);
    if (range.count > 0) {
      ids.resize(static_cast<size_t>(std::min(std::ssize(ids), range.count)));
      dataset.read_tokens(range.first, ids);
      break;
    }
  }
  if (is_bytes) {
    return printable(decode_bytes(ids));
  }
  std::string line;
  for (const int64_t id : ids) {
    line += (line.empty() ? "" : " ") + std::to_string(id);
  }
  return line;
}

}  // namespace

int data_prepare_command(const DataPrepareArguments& arguments) {
  if (arguments.output.empty() || arguments.output.ends_with('/')) {
    throw ExitError(ExitCode::kUsage,
                    "data prepare: --output must name files, PREFIX.bin and "
                    "PREFIX.idx; is '" +
                        arguments.output + "'");
  }
  const auto files = find_text_files(arguments.inputs);
  IndexedDatasetWriter writer(arguments.output, token_type_of_vocabulary(kByteVocabSize));
  int64_t num_bytes = 0;
  int64_t num_empty = 0;
  for (const auto& path : files) {
    for_each_document(path, [&](std::string_view text) {
      if (text.empty()) {
        ++num_empty;
        return;
      }
      writer.add_tokens(encode_bytes(text));
      if (arguments.append_end_token) {
        writer.add_tokens(std::vector<int64_t>{kByteEndToken});
      }
      writer.end_document();
      num_bytes += std::ssize(text);
    });
  }
  if (writer.num_documents() == 0) {
    throw ExitError(ExitCode::kBadFile, "data prepare: no document in " +
                                            std::to_string(files.size()) + " files: all are empty");
  }
  writer.finish();
  std::cout << arguments.output << ".bin, .idx: " << writer.num_documents() << " documents, "
            << writer.num_tokens() << " tokens, " << num_bytes << " bytes of text from "
            << files.size() << " files";
  if (num_empty > 0) {
    std::cout << " (" << num_empty << " empty documents left out)";
  }
  std::cout << "\n";
  return 0;
}

int data_info_command(const DataInfoArguments& arguments) {
  const IndexedDataset dataset(arguments.prefix);
  const TokenBounds bounds = scan_tokens(dataset, arguments.vocab_size);
  DatasetFingerprint fingerprint;
  fingerprint.add(dataset);
  std::cout << "documents:   " << dataset.num_documents() << "\n"
            << "sequences:   " << dataset.num_sequences() << "\n"
            << "tokens:      " << dataset.num_tokens() << "\n"
            << "dtype:       " << token_type_name(dataset.token_type()) << "\n";
  if (dataset.num_tokens() > 0) {
    const bool is_bytes = bounds.largest < kByteVocabSize;
    std::cout << "ids:         " << bounds.smallest << " to " << bounds.largest << "\n"
              << (is_bytes ? "text:        " : "first ids:   ") << sample_of(dataset, is_bytes)
              << "\n";
  }
  std::cout << "fingerprint: " << fingerprint.hex() << "\n";
  return 0;
}

}  // namespace moesaic::trainer
