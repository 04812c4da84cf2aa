#include "trainer/data/indexed_dataset_writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <limits>
#include <stdexcept>
#include <utility>

#include "trainer/exit_code.h"

namespace moesaic::trainer {

namespace {

constexpr size_t kBufferBytes = size_t{1} << 20;

[[noreturn]] void throw_storage(const std::string& path, const std::string& action) {
  throw ExitError(ExitCode::kStorage, path + ": cannot " + action + ": " + std::strerror(errno));
}

int create_file(const std::string& path) {
  const int descriptor = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (descriptor < 0) {
    throw_storage(path, "be created");
  }
  return descriptor;
}

void write_all(int descriptor, const std::string& path, const char* bytes, size_t count) {
  while (count > 0) {
    const ssize_t written = ::write(descriptor, bytes, count);
    if (written < 0 && errno != EINTR) {
      throw_storage(path, "be written");
    }
    const auto done = static_cast<size_t>(std::max<ssize_t>(written, 0));
    bytes += done;
    count -= done;
  }
}

// Closes in any case. An error of close() is an error of the write before it.
void sync_and_close(int descriptor, const std::string& path) {
  const bool synced = ::fsync(descriptor) == 0;
  const bool closed = ::close(descriptor) == 0;
  if (!synced || !closed) {
    throw_storage(path, "be brought to the disk");
  }
}

void rename_file(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) {
    throw_storage(to, "be put in place");
  }
}

void sync_folder(const std::string& folder) {
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) {
    throw_storage(folder, "be opened");
  }
  sync_and_close(descriptor, folder);
}

std::string folder_of(const std::string& path) {
  const auto folder = std::filesystem::path(path).parent_path().string();
  return folder.empty() ? "." : folder;
}

template <typename Number>
void append_number(std::vector<char>& bytes, Number number) {
  const auto* begin = reinterpret_cast<const char*>(&number);
  bytes.insert(bytes.end(), begin, begin + sizeof(Number));
}

}  // namespace

IndexedDatasetWriter::IndexedDatasetWriter(std::string prefix, TokenType token_type)
    : prefix_(std::move(prefix)), token_type_(token_type) {
  const auto suffix = ".tmp-" + std::to_string(::getpid());
  temporary_tokens_ = prefix_ + ".bin" + suffix;
  temporary_index_ = prefix_ + ".idx" + suffix;
  std::error_code error;
  std::filesystem::create_directories(folder_of(prefix_), error);
  if (error) {
    throw ExitError(ExitCode::kStorage,
                    folder_of(prefix_) + ": cannot be created: " + error.message());
  }
  tokens_descriptor_ = create_file(temporary_tokens_);
}

IndexedDatasetWriter::~IndexedDatasetWriter() {
  if (tokens_descriptor_ >= 0) {
    ::close(tokens_descriptor_);
  }
  ::unlink(temporary_tokens_.c_str());
  ::unlink(temporary_index_.c_str());
}

void IndexedDatasetWriter::add_tokens(std::span<const int64_t> tokens) {
  const auto count = static_cast<int64_t>(tokens.size());
  if (count > std::numeric_limits<int32_t>::max() - document_tokens_) {
    throw ExitError(ExitCode::kBadFile, prefix_ + ": document " + std::to_string(num_documents()) +
                                            ": a document takes at most 2147483647 tokens");
  }
  const auto size = static_cast<size_t>(token_bytes(token_type_));
  for (const int64_t token : tokens) {
    if (token < min_token(token_type_) || token > max_token(token_type_)) {
      throw ExitError(ExitCode::kBadFile, prefix_ + ": token " + std::to_string(token) +
                                              " does not fit " + token_type_name(token_type_));
    }
    // Little-endian: the low bytes of the number are the number in the smaller type.
    const auto* bytes = reinterpret_cast<const char*>(&token);
    buffer_.insert(buffer_.end(), bytes, bytes + size);
    if (buffer_.size() >= kBufferBytes) {
      flush_tokens();
    }
  }
  document_tokens_ += count;
  num_tokens_ += count;
}

void IndexedDatasetWriter::end_document() {
  lengths_.push_back(static_cast<int32_t>(document_tokens_));
  document_tokens_ = 0;
}

void IndexedDatasetWriter::flush_tokens() {
  write_all(tokens_descriptor_, temporary_tokens_, buffer_.data(), buffer_.size());
  buffer_.clear();
}

void IndexedDatasetWriter::write_index() {
  std::vector<char> bytes{'M', 'M', 'I', 'D', 'I', 'D', 'X', '\0', '\0'};
  append_number(bytes, uint64_t{1});
  append_number(bytes, static_cast<uint8_t>(token_type_));
  append_number(bytes, static_cast<uint64_t>(lengths_.size()));
  append_number(bytes, static_cast<uint64_t>(lengths_.size() + 1));
  for (const int32_t length : lengths_) {
    append_number(bytes, length);
  }
  int64_t pointer = 0;
  for (const int32_t length : lengths_) {
    append_number(bytes, pointer);
    pointer += length * token_bytes(token_type_);
  }
  for (int64_t document = 0; document <= num_documents(); ++document) {
    append_number(bytes, document);
  }
  const int descriptor = create_file(temporary_index_);
  try {
    write_all(descriptor, temporary_index_, bytes.data(), bytes.size());
  } catch (...) {
    ::close(descriptor);
    throw;
  }
  sync_and_close(descriptor, temporary_index_);
}

void IndexedDatasetWriter::finish() {
  if (document_tokens_ != 0) {
    throw std::logic_error("IndexedDatasetWriter: finish() within a document of " + prefix_);
  }
  flush_tokens();
  sync_and_close(std::exchange(tokens_descriptor_, -1), temporary_tokens_);
  write_index();
  // The old index goes first, so that no index ever stands beside tokens that are not its own.
  if (::unlink((prefix_ + ".idx").c_str()) != 0 && errno != ENOENT) {
    throw_storage(prefix_ + ".idx", "be replaced");
  }
  sync_folder(folder_of(prefix_));
  rename_file(temporary_tokens_, prefix_ + ".bin");
  rename_file(temporary_index_, prefix_ + ".idx");
  sync_folder(folder_of(prefix_));
}

}  // namespace moesaic::trainer
