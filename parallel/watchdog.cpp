#include "parallel/watchdog.h"

#include <unistd.h>

#include <cstdio>
#include <cstring>

namespace moesaic::parallel {

namespace {

/// State letter of /proc/PID/stat; 0 when there is no such process.
char process_state(int pid) {
  const std::string path = "/proc/" + std::to_string(pid) + "/stat";
  std::FILE* file = std::fopen(path.c_str(), "re");
  if (file == nullptr) {
    return 0;
  }
  char text[1024] = {};
  const size_t length = std::fread(text, 1, sizeof(text) - 1, file);
  std::fclose(file);
  text[length] = 0;
  const char* after_name = std::strrchr(text, ')');  // the name itself may hold anything
  return after_name != nullptr && after_name[1] == ' ' ? after_name[2] : 0;
}

std::string tenths(double seconds) {
  return c10::str(std::round(seconds * 10) / 10);
}

}  // namespace

Watchdog::Watchdog(OperationRing ring, int rank, double timeout_s)
    : ring_(std::move(ring)), rank_(rank), timeout_s_(timeout_s) {
  thread_ = std::thread([this] { run(); });
}

Watchdog::~Watchdog() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  condition_.notify_all();
  thread_.join();
}

void Watchdog::add_peer(int rank, OperationRing ring) {
  std::lock_guard lock(mutex_);
  peers_.emplace(rank, std::move(ring));
}

void Watchdog::watch_section(const std::string& what) {
  std::lock_guard lock(mutex_);
  section_ = what;
  section_since_ = monotonic_seconds();
}

void Watchdog::issued(const OperationPtr& operation) {
  operation->ring_number = ring_.add(*operation);
  std::lock_guard lock(mutex_);
  in_flight_.emplace(operation->ring_number, operation);
}

void Watchdog::started(const OperationPtr& operation) {
  ring_.set_state(*operation, OperationRecord::State::started);
}

void Watchdog::completed(const OperationPtr& operation) {
  ring_.set_state(*operation, OperationRecord::State::done);
  std::lock_guard lock(mutex_);
  in_flight_.erase(operation->ring_number);
}

void Watchdog::failed(const std::string& message) {
  print(message);
  std::lock_guard lock(mutex_);
  failed_at_ = monotonic_seconds();
  for (const auto& [number, operation] : in_flight_) {
    ring_.set_state(*operation, OperationRecord::State::failed);
  }
  in_flight_.clear();
}

void Watchdog::print(const std::string& message) const {
  // One write for the whole text, so that the lines of different ranks do not mix.
  std::string text;
  size_t begin = 0;
  while (begin < message.size()) {
    const size_t end = std::min(message.find('\n', begin), message.size());
    text += "[rank " + std::to_string(rank_) + "] " + message.substr(begin, end - begin) + "\n";
    begin = end + 1;
  }
  // A closed or full stderr must not keep the process alive: the result is ignored on purpose.
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, text.data(), text.size());
}

std::string Watchdog::describe_peer(int rank, const Operation* operation) const {
  const auto found = peers_.find(rank);
  std::string text = "rank " + std::to_string(rank);
  if (found == peers_.end()) {
    return text + ": nothing is known (another node, or it has not come up)";
  }
  const OperationRing& ring = found->second;
  const std::string process = " (process " + std::to_string(ring.pid()) + ")";
  const char state = process_state(ring.pid());
  const double silence = ring.seconds_since_beat();
  if (state == 'T' || state == 't') {
    text += " IS STOPPED" + process;
  } else if (state == 0 || state == 'Z' || state == 'X') {
    text += " HAS ENDED" + process;
  } else {
    text += " is alive" + process;
  }
  text += ", last sign of life " + tenths(silence) + " s ago";
  if (operation != nullptr && operation->plan().kind != OperationKind::send &&
      operation->plan().kind != OperationKind::recv) {
    const int64_t last = ring.last_issued(operation->group().context);
    text += last >= operation->sequence()
                ? "; has issued the operation"
                : "; has NOT issued the operation (last of '" + operation->group().name +
                      "': " + (last < 0 ? "none" : "#" + std::to_string(last)) + ")";
  }
  const auto current = ring.current();
  return text + "; " + (current ? current->describe() : "has issued nothing");
}

std::string Watchdog::describe_all(const Operation* operation) const {
  std::lock_guard lock(mutex_);
  std::string text;
  auto add = [&](int rank) {
    text += (text.empty() ? "" : "\n") + std::string("  ") + describe_peer(rank, operation);
  };
  if (operation == nullptr) {
    for (const auto& [rank, ring] : peers_) {
      add(rank);
    }
  } else {
    for (const int peer : operation->plan().peers) {
      add(operation->group().world_ranks[peer]);
    }
  }
  return text;
}

std::string Watchdog::diagnose(const Operation& operation) {
  return describe_all(&operation);
}

void Watchdog::end(const std::string& message) {
  print(message);
  _exit(kExitCode);
}

void Watchdog::check() {
  const double now = monotonic_seconds();
  const auto steady_now = Operation::Clock::now();
  OperationPtr overdue;
  double age = 0;
  std::string section;
  bool must_end = false;
  {
    std::lock_guard lock(mutex_);
    if (!in_flight_.empty()) {
      const OperationPtr& oldest = in_flight_.begin()->second;
      age = std::chrono::duration<double>(steady_now - oldest->issued_at()).count();
      overdue = age > timeout_s_ + kGraceS ? oldest : nullptr;
    }
    if (!section_.empty() && now - section_since_ > timeout_s_) {
      section = section_;
    }
    must_end = failed_at_ > 0 && now - failed_at_ > kEndS;
  }
  if (must_end) {
    end("watchdog: still here " + tenths(kEndS) + " s after the communication failed: exit " +
        std::to_string(kExitCode));
  }
  if (overdue) {
    end("watchdog: " + overdue->describe() + " is in flight for " + tenths(age) + " s (timeout " +
        c10::str(timeout_s_) + " s): " + overdue->describe_missing() + "\n" +
        describe_all(overdue.get()) + "\nwatchdog: exit " + std::to_string(kExitCode));
  }
  if (!section.empty()) {
    end("watchdog: " + section + " takes longer than " + c10::str(timeout_s_) + " s\n" +
        describe_all(nullptr) + "\nwatchdog: exit " + std::to_string(kExitCode));
  }
}

void Watchdog::run() {
  const double interval = std::clamp(timeout_s_ / 10, 0.05, 0.5);
  while (true) {
    {
      std::unique_lock lock(mutex_);
      condition_.wait_for(lock, std::chrono::duration<double>(interval),
                          [this] { return stopping_; });
      if (stopping_) {
        return;
      }
    }
    ring_.beat();
    check();
  }
}

}  // namespace moesaic::parallel
