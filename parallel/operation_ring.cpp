#include "parallel/operation_ring.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cstring>

namespace moesaic::parallel {

namespace {

constexpr int64_t kMagic = 0x31474e4952534f4d;  // "MOSRING1"
constexpr int kNameWords = 4;
using Cell = std::atomic<int64_t>;
static_assert(Cell::is_always_lock_free);

int64_t monotonic_nanoseconds() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{1000000000} * now.tv_sec + now.tv_nsec;
}

double seconds_since(int64_t nanoseconds) {
  return static_cast<double>(monotonic_nanoseconds() - nanoseconds) * 1e-9;
}

}  // namespace

struct OperationRing::File {
  struct Entry {
    Cell number, kind, sequence, group, context, bytes, peer, state, changed_at;
  };
  struct GroupEntry {
    Cell context, last_issued;
    Cell name[kNameWords];
  };
  Cell magic, rank, pid, beat_at, last_number;
  GroupEntry groups[kNumGroups];
  Entry entries[kNumEntries];
};

double monotonic_seconds() {
  return static_cast<double>(monotonic_nanoseconds()) * 1e-9;
}

std::string OperationRecord::describe() const {
  static const char* const kStates[] = {"issued", "started", "done", "failed"};
  std::string text =
      std::string(to_string(kind)) + " #" + std::to_string(sequence) + " of '" + group + "'";
  if (peer >= 0) {
    text += " with rank " + std::to_string(peer);
  }
  return text + " (" + std::to_string(bytes) + " bytes), " + kStates[static_cast<int>(state)] +
         " " + c10::str(std::round(seconds_ago * 10) / 10) + " s ago";
}

OperationRing OperationRing::create(const std::string& path, int rank) {
  auto refuse = [&](const char* call) {
    throw CommunicationError("rank " + std::to_string(rank) + ": cannot make the operation ring " +
                             path + ": " + call + ": " + std::strerror(errno));
  };
  const int descriptor = ::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (descriptor < 0) {
    refuse("open");
  }
  // Allocated, not sparse: a full file system is an error here and not a SIGBUS later.
  const int error = posix_fallocate(descriptor, 0, sizeof(File));
  if (error != 0) {
    ::close(descriptor);
    ::unlink(path.c_str());
    errno = error;
    refuse("posix_fallocate");
  }
  void* memory = mmap(nullptr, sizeof(File), PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
  ::close(descriptor);
  if (memory == MAP_FAILED) {
    refuse("mmap");
  }
  auto* file = new (memory) File{};
  for (auto& group : file->groups) {
    group.context = -1;
    group.last_issued = -1;
  }
  file->rank = rank;
  file->pid = getpid();
  file->beat_at = monotonic_nanoseconds();
  file->magic = kMagic;
  return {path, file};
}

std::optional<OperationRing> OperationRing::open(const std::string& path, int rank) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) {
    return std::nullopt;
  }
  struct stat status;
  void* memory = MAP_FAILED;
  if (fstat(descriptor, &status) == 0 && status.st_size == sizeof(File)) {
    memory = mmap(nullptr, sizeof(File), PROT_READ, MAP_SHARED, descriptor, 0);
  }
  ::close(descriptor);
  if (memory == MAP_FAILED) {
    return std::nullopt;
  }
  OperationRing ring(path, static_cast<File*>(memory));
  if (ring.file_->magic != kMagic || ring.file_->rank != rank) {
    return std::nullopt;
  }
  return ring;
}

OperationRing::OperationRing(OperationRing&& other) noexcept
    : path_(std::move(other.path_)),
      file_(std::exchange(other.file_, nullptr)),
      mutex_(std::move(other.mutex_)),
      num_groups_(other.num_groups_) {}

OperationRing::~OperationRing() {
  if (file_ != nullptr) {
    munmap(file_, sizeof(File));
  }
}

int OperationRing::find_group(const Group& group) {
  for (int i = 0; i < num_groups_; ++i) {
    if (file_->groups[i].context == group.context) {
      return i;
    }
  }
  // Beyond kNumGroups the last place is shared: its operations stay visible, its name is the
  // latest.
  const int place = std::min(num_groups_, kNumGroups - 1);
  num_groups_ = std::min(num_groups_ + 1, kNumGroups);
  int64_t words[kNameWords] = {};
  std::memcpy(words, group.name.data(), std::min(group.name.size(), sizeof(words) - 1));
  for (int i = 0; i < kNameWords; ++i) {
    file_->groups[place].name[i] = words[i];
  }
  file_->groups[place].last_issued = -1;
  file_->groups[place].context = group.context;
  return place;
}

int64_t OperationRing::add(const Operation& operation) {
  std::lock_guard lock(*mutex_);
  const OperationPlan& plan = operation.plan();
  const bool is_collective = plan.kind != OperationKind::send && plan.kind != OperationKind::recv;
  const int group = find_group(operation.group());
  const int64_t number = file_->last_number + 1;
  auto& entry = file_->entries[number % kNumEntries];
  entry.number = 0;
  entry.kind = static_cast<int64_t>(plan.kind);
  entry.sequence = operation.sequence();
  entry.group = group;
  entry.context = operation.group().context;
  entry.bytes = plan.bytes;
  entry.peer = is_collective ? -1 : operation.group().world_ranks[plan.peers.at(0)];
  entry.state = static_cast<int64_t>(OperationRecord::State::issued);
  entry.changed_at = monotonic_nanoseconds();
  entry.number = number;
  file_->last_number = number;
  if (is_collective) {
    file_->groups[group].last_issued = operation.sequence();
  }
  return number;
}

void OperationRing::set_state(const Operation& operation, OperationRecord::State state) {
  auto& entry = file_->entries[operation.ring_number % kNumEntries];
  if (entry.number == operation.ring_number) {
    entry.state = static_cast<int64_t>(state);
    entry.changed_at = monotonic_nanoseconds();
  }
}

void OperationRing::beat() {
  file_->beat_at = monotonic_nanoseconds();
}

int OperationRing::pid() const {
  return static_cast<int>(file_->pid);
}

double OperationRing::seconds_since_beat() const {
  return seconds_since(file_->beat_at);
}

int64_t OperationRing::last_issued(int64_t context) const {
  for (const auto& group : file_->groups) {
    if (group.context == context) {
      return group.last_issued;
    }
  }
  return -1;
}

OperationRecord OperationRing::read(int index) const {
  const auto& entry = file_->entries[index];
  OperationRecord record;
  record.number = entry.number;
  record.kind = static_cast<OperationKind>(entry.kind.load());
  record.sequence = entry.sequence;
  record.context = entry.context;
  record.bytes = entry.bytes;
  record.peer = static_cast<int>(entry.peer);
  record.state = static_cast<OperationRecord::State>(std::clamp<int64_t>(entry.state, 0, 3));
  record.seconds_ago = seconds_since(entry.changed_at);
  int64_t words[kNameWords + 1] = {};
  const auto& group = file_->groups[std::clamp<int64_t>(entry.group, 0, kNumGroups - 1)];
  for (int i = 0; i < kNameWords; ++i) {
    words[i] = group.name[i];
  }
  record.group = reinterpret_cast<const char*>(words);
  return record;
}

std::optional<OperationRecord> OperationRing::current() const {
  std::optional<OperationRecord> oldest, last;
  for (int index = 0; index < kNumEntries; ++index) {
    const OperationRecord record = read(index);
    if (record.number == 0) {
      continue;
    }
    const bool in_flight = record.state == OperationRecord::State::issued ||
                           record.state == OperationRecord::State::started;
    if (in_flight && (!oldest || record.number < oldest->number)) {
      oldest = record;
    }
    if (!last || record.number > last->number) {
      last = record;
    }
  }
  return oldest ? oldest : last;
}

}  // namespace moesaic::parallel
