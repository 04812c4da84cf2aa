#include "trainer/checkpoint/run_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <ctime>

#include "trainer/checkpoint/agreement.h"
#include "trainer/checkpoint/file_operations.h"
#include "trainer/exit_code.h"

namespace moesaic::trainer {
namespace {

// "pid 123 on host since 2026-11-22T10:46:39Z"
std::string describe_this_job() {
  char host[256] = "unknown";
  gethostname(host, sizeof host - 1);
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  gmtime_r(&now, &utc);
  char start[32];
  std::strftime(start, sizeof start, "%Y-%m-%dT%H:%M:%SZ", &utc);
  return "pid " + std::to_string(getpid()) + " on " + host + " since " + start;
}

std::string read_holder(int file) {
  char text[512];
  const ssize_t length = ::pread(file, text, sizeof text, 0);
  if (length <= 0)
    return "another job";
  std::string_view line(text, static_cast<size_t>(length));
  return printable(line.substr(0, line.find('\n')));
}

void write_holder(int file, const std::filesystem::path& path) {
  const std::string text = describe_this_job() + "\n";
  if (::ftruncate(file, 0) < 0 ||
      ::pwrite(file, text.data(), text.size(), 0) != static_cast<ssize_t>(text.size())) {
    throw_storage_error("write", path, errno);
  }
}

}  // namespace

RunLock::RunLock(const std::filesystem::path& run_dir) : file_(-1) {
  const auto path = run_dir / "run.lock";
  std::error_code error;
  std::filesystem::create_directories(run_dir, error);
  if (error)
    throw_storage_error("create", run_dir, error.value());
  // Closed on exec: a program that we start must not keep the lock after our end.
  file_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (file_ < 0)
    throw_storage_error("open", path, errno);
  try {
    if (::flock(file_, LOCK_EX | LOCK_NB) < 0) {
      if (errno == EWOULDBLOCK) {
        throw ExitError(ExitCode::kStorage, run_dir.string() + " is in use by " +
                                                read_holder(file_) + " (" + path.string() + ")");
      }
      warning_ = path.string() + " cannot be locked here (" + std::strerror(errno) +
                 "): nothing stops a second job in this folder";
    }
    write_holder(file_, path);
  } catch (...) {
    ::close(file_);
    throw;
  }
}

RunLock::~RunLock() {
  // The file stays: removing it would let a third job lock a file that a second one still waits
  // for.
  ::close(file_);
}

std::unique_ptr<RunLock> acquire_run_lock(parallel::Communicator& communicator,
                                          const std::filesystem::path& run_dir) {
  std::unique_ptr<RunLock> lock;
  attempt_together(communicator, [&] {
    if (communicator.rank() == 0)
      lock = std::make_unique<RunLock>(run_dir);
  });
  return lock;
}

}  // namespace moesaic::trainer
