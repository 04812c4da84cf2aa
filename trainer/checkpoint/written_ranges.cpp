#include "trainer/checkpoint/written_ranges.h"

#include <fcntl.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <string_view>

#include "trainer/checkpoint/agreement.h"
#include "trainer/exit_code.h"

namespace moesaic::trainer {
namespace {

constexpr int64_t kReadBytes = int64_t{4} << 20;

bool by_position(const FileRange& a, const FileRange& b) {
  if (a.file_idx != b.file_idx)
    return a.file_idx < b.file_idx;
  return a.begin != b.begin ? a.begin < b.begin : a.num_bytes < b.num_bytes;
}

FileRange place(const CheckpointPlan& plan, const TensorBytes& bytes) {
  const auto* place = plan.find(bytes.name);
  if (place == nullptr) {
    throw ExitError(ExitCode::kInternal, "checkpoint: tensor " + bytes.name + " is not planned");
  }
  const auto& tensor = plan.files()[place->file_idx].tensors[place->tensor_idx];
  if (bytes.offset < 0 || bytes.num_bytes < 0 ||
      bytes.offset > tensor.num_bytes - bytes.num_bytes) {
    throw ExitError(ExitCode::kInternal, "checkpoint: bytes [" + std::to_string(bytes.offset) +
                                             ", +" + std::to_string(bytes.num_bytes) +
                                             ") are not inside " + bytes.name + ", which has " +
                                             std::to_string(tensor.num_bytes));
  }
  return {static_cast<int64_t>(place->file_idx), tensor.begin + bytes.offset, bytes.num_bytes,
          hash_bytes(bytes.data, bytes.num_bytes)};
}

// Names the tensor at a position, for messages.
std::string tensor_at(const PlannedFile& file, int64_t position) {
  for (const auto& tensor : file.tensors) {
    if (position >= tensor.begin && position < tensor.begin + tensor.num_bytes) {
      return file.name + ", byte " + std::to_string(position - tensor.begin) + " of " + tensor.name;
    }
  }
  return file.name + ", byte " + std::to_string(position);
}

[[noreturn]] void throw_not_covered(const PlannedFile& file, int64_t position, bool twice) {
  throw ExitError(ExitCode::kInternal, "checkpoint: " + tensor_at(file, position) +
                                           (twice ? " is owned twice" : " is owned by no rank"));
}

void check_every_byte_has_one_owner(const CheckpointPlan& plan,
                                    const std::vector<FileRange>& ranges) {
  size_t next = 0;
  for (size_t file_idx = 0; file_idx < plan.files().size(); ++file_idx) {
    const auto& file = plan.files()[file_idx];
    int64_t position = 0;
    for (; next < ranges.size() && ranges[next].file_idx == static_cast<int64_t>(file_idx);
         ++next) {
      const auto& range = ranges[next];
      if (range.begin != position) {
        throw_not_covered(file, std::min(range.begin, position), range.begin < position);
      }
      position += range.num_bytes;
    }
    if (position != file.num_bytes)
      throw_not_covered(file, position, false);
  }
}

// Hashes consecutive runs of a stream: the owner is told the hash of each run as it ends.
class RunHasher {
 public:
  using Finish = std::function<void(size_t run_idx, const Hash128& hash)>;
  RunHasher(std::vector<int64_t> ends, Finish finish)
      : ends_(std::move(ends)), finish_(std::move(finish)) {}

  void update(std::string_view bytes) {
    finish_runs();
    while (!bytes.empty() && run_idx_ < ends_.size()) {
      const auto length = static_cast<size_t>(
          std::min<int64_t>(ends_[run_idx_] - position_, static_cast<int64_t>(bytes.size())));
      hash_.update(bytes.data(), static_cast<int64_t>(length));
      position_ += static_cast<int64_t>(length);
      bytes.remove_prefix(length);
      finish_runs();
    }
  }

 private:
  void finish_runs() {
    for (; run_idx_ < ends_.size() && ends_[run_idx_] == position_; ++run_idx_) {
      finish_(run_idx_, hash_.digest());
      hash_.reset();
    }
  }

  std::vector<int64_t> ends_;
  Finish finish_;
  StreamHash hash_;
  size_t run_idx_ = 0;
  int64_t position_ = 0;
};

ManifestFile stream_file(FileOperations& operations, const std::filesystem::path& path,
                         const std::function<void(std::string_view)>& consume) {
  const OpenFile file(operations, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  // Clean pages are dropped after the flush, so this reads what the device holds.
  file.drop_cache();
  const int64_t num_bytes = file.num_bytes();
  StreamHash hash;
  std::string buffer(std::min(kReadBytes, num_bytes), '\0');
  for (int64_t offset = 0; offset < num_bytes; offset += kReadBytes) {
    const int64_t length = std::min(kReadBytes, num_bytes - offset);
    file.read(buffer.data(), length, offset);
    hash.update(buffer.data(), length);
    consume(std::string_view(buffer).substr(0, length));
  }
  return {num_bytes, hash.digest()};
}

}  // namespace

std::vector<OwnedRange> owned_ranges(const CheckpointPlan& plan,
                                     const std::vector<TensorBytes>& bytes, int rank) {
  std::vector<OwnedRange> owned;
  for (const auto& part : bytes) {
    // An empty range has no position of its own and would count as an overlap.
    const auto range = place(plan, part);
    if (range.num_bytes > 0)
      owned.push_back({range, static_cast<const char*>(part.data)});
  }
  if (rank == 0) {
    for (size_t file_idx = 0; file_idx < plan.files().size(); ++file_idx) {
      const auto& header = plan.files()[file_idx].header;
      const auto size = static_cast<int64_t>(header.size());
      owned.push_back({{static_cast<int64_t>(file_idx), 0, size, hash_bytes(header.data(), size)},
                       header.data()});
    }
  }
  std::sort(owned.begin(), owned.end(),
            [](const auto& a, const auto& b) { return by_position(a.range, b.range); });
  return owned;
}

std::vector<FileRange> gather_ranges(parallel::Communicator& communicator,
                                     const CheckpointPlan& plan,
                                     const std::vector<OwnedRange>& owned) {
  static_assert(std::is_trivially_copyable_v<FileRange>);
  std::string mine;
  for (const auto& part : owned) {
    mine.append(reinterpret_cast<const char*>(&part.range), sizeof part.range);
  }
  std::vector<FileRange> ranges;
  for (const auto& text : gather_texts(communicator, mine)) {
    const size_t first = ranges.size();
    ranges.resize(first + text.size() / sizeof(FileRange));
    std::memcpy(ranges.data() + first, text.data(), text.size());
  }
  std::sort(ranges.begin(), ranges.end(), by_position);
  // The same numbers on every rank, hence the same verdict.
  check_every_byte_has_one_owner(plan, ranges);
  return ranges;
}

VerifiedFile verify_written_file(FileOperations& operations, const std::filesystem::path& folder,
                                 const CheckpointPlan& plan, int64_t file_idx,
                                 const std::vector<FileRange>& ranges) {
  const auto& planned = plan.files()[file_idx];
  const auto first = std::lower_bound(ranges.begin(), ranges.end(), file_idx,
                                      [](const auto& a, int64_t idx) { return a.file_idx < idx; });
  std::vector<int64_t> range_ends;
  for (auto range = first; range != ranges.end() && range->file_idx == file_idx; ++range) {
    range_ends.push_back(range->begin + range->num_bytes);
  }
  RunHasher range_hasher(range_ends, [&](size_t run_idx, const Hash128& hash) {
    if (hash == first[run_idx].hash)
      return;
    throw ExitError(ExitCode::kStorage, (folder / planned.name).string() +
                                            " does not hold what was written: " +
                                            tensor_at(planned, first[run_idx].begin));
  });
  VerifiedFile verified;
  std::vector<int64_t> tensor_ends{static_cast<int64_t>(planned.header.size())};
  for (const auto& tensor : planned.tensors)
    tensor_ends.push_back(tensor.begin + tensor.num_bytes);
  RunHasher tensor_hasher(tensor_ends, [&](size_t run_idx, const Hash128& hash) {
    if (run_idx == 0)
      return;
    const auto& tensor = planned.tensors[run_idx - 1];
    verified.tensors.push_back({tensor.name, tensor.type, tensor.shape, hash});
  });
  verified.file = stream_file(operations, folder / planned.name, [&](std::string_view bytes) {
    range_hasher.update(bytes);
    tensor_hasher.update(bytes);
  });
  if (verified.file.num_bytes != planned.num_bytes) {
    throw ExitError(ExitCode::kStorage, (folder / planned.name).string() + " has " +
                                            std::to_string(verified.file.num_bytes) +
                                            " bytes instead of " +
                                            std::to_string(planned.num_bytes));
  }
  return verified;
}

ManifestFile hash_file(FileOperations& operations, const std::filesystem::path& path) {
  return stream_file(operations, path, [](std::string_view) {});
}

}  // namespace moesaic::trainer
