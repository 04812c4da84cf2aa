// Small data sets in a folder of their own, for the tests of trainer/data.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "trainer/data/indexed_dataset_writer.h"
#include "trainer/data/token_windows.h"
#include "trainer/exit_code.h"

namespace moesaic::trainer {

/// A folder that is gone when the test is over.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string path = (std::filesystem::temp_directory_path() / "moesaic-XXXXXX").string();
    path_ = ::mkdtemp(path.data());
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  std::string path(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

inline std::string read_bytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

inline void write_bytes(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

/// Little-endian bytes of a number.
template <typename Number>
std::string bytes_of(Number number) {
  return {reinterpret_cast<const char*>(&number), sizeof(number)};
}

inline void write_dataset(const std::string& prefix,
                          const std::vector<std::vector<int64_t>>& documents,
                          TokenType type = TokenType::kUInt16) {
  IndexedDatasetWriter writer(prefix, type);
  for (const auto& document : documents) {
    writer.add_tokens(document);
    writer.end_document();
  }
  writer.finish();
}

/// One source whose token i is i, so that a window tells where it comes from.
inline std::shared_ptr<const TokenWindows> counting_windows(const TemporaryFolder& folder,
                                                            int64_t num_windows,
                                                            int64_t sequence_length) {
  std::vector<int64_t> tokens(static_cast<size_t>(num_windows * sequence_length + 1));
  std::iota(tokens.begin(), tokens.end(), 0);
  write_dataset(folder.path("counting"), {tokens}, TokenType::kInt32);
  return std::make_shared<TokenWindows>(std::vector<std::string>{folder.path("counting")},
                                        sequence_length, std::ssize(tokens));
}

/// Expects that `action` throws ExitError with this code and a message that holds `fragment`.
template <typename Action>
void expect_exit_error(const Action& action, ExitCode code, const std::string& fragment) {
  try {
    action();
    ADD_FAILURE() << "no error; expected: " << fragment;
  } catch (const ExitError& error) {
    EXPECT_EQ(static_cast<int>(error.code()), static_cast<int>(code)) << error.what();
    EXPECT_NE(std::string(error.what()).find(fragment), std::string::npos)
        << "message: " << error.what() << "\nexpected: " << fragment;
  }
}

}  // namespace moesaic::trainer
