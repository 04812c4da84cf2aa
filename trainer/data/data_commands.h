// `moesaic data prepare` and `moesaic data info`, behind the command line.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace moesaic::trainer {

struct DataPrepareArguments {
  std::vector<std::string> inputs;  ///< files and folders of .txt and .jsonl
  std::string output;               ///< PREFIX of the .bin and .idx to write
  bool append_end_token = true;     ///< end every document with token 256
};

/// Text to byte tokens: writes OUTPUT.bin and OUTPUT.idx (uint16), one sequence a document, and
/// prints what they hold to stdout. Documents without a byte are left out and counted.
/// Returns 0. Throws ExitError: kNoInput, kBadFile (also if there is no document), kStorage.
int data_prepare_command(const DataPrepareArguments& arguments);

struct DataInfoArguments {
  std::string prefix;                 ///< of a .bin/.idx pair
  std::optional<int64_t> vocab_size;  ///< every id must lie below
};

/// Validates a data set whole, .bin included, and prints to stdout: documents, tokens, type,
/// smallest and largest id, fingerprint, and a sample (as text if the ids are byte tokens).
/// Returns 0. Throws ExitError: kNoInput, kBadFile.
int data_info_command(const DataInfoArguments& arguments);

}  // namespace moesaic::trainer
