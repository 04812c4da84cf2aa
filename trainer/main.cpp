// The program: runs the command line, prints what went wrong, and turns it into an exit code.
#include <fcntl.h>
#include <malloc.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <iostream>
#include <thread>

#include "parallel/communicator.h"
#include "trainer/command_line.h"
#include "trainer/exit_code.h"
#include "trainer/launch.h"
#include "trainer/stop_signal.h"

namespace {

using moesaic::trainer::ExitCode;

/// `rank R: ` in a job of several ranks, else `moesaic: `, before the message.
void print_error(const std::string& message) {
  bool alone = moesaic::trainer::launch_world_size().value_or(1) == 1;
  auto speaker =
      (alone ? "moesaic" : "rank " + std::to_string(moesaic::trainer::launch_rank())) + ": ";
  bool has_spoken = message.rfind(speaker, 0) == 0;  // communication errors name their rank
  std::cerr << (has_spoken ? "" : speaker) + message + "\n" << std::flush;
}

/// What a command finds wrong, it mostly finds wrong on all ranks alike. Rank 0 says so, and mpirun
/// ends the others before they repeat it. A rank that is alone with its trouble speaks later.
bool rank_zero_has_spoken() {
  constexpr auto kPatience = std::chrono::seconds(5);
  if (moesaic::trainer::launch_rank() == 0) {
    return false;
  }
  const auto began = std::chrono::steady_clock::now();
  while (!moesaic::trainer::stop_was_requested()) {
    if (std::chrono::steady_clock::now() - began > kPatience) {
      return false;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return true;
}

int fail(ExitCode code, const std::string& message) {
  print_error(message);
  return static_cast<int>(code);
}

/// Large tensors come and go with every step. glibc would give each back to the kernel and take the
/// page faults again, which can cost more than the arithmetic.
void keep_freed_memory() {
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, 2047 << 20);
}

/// A closed standard stream would give its number to the next file that is opened, and our console
/// output would go into that.
void open_standard_streams() {
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (fcntl(stream, F_GETFD) == -1 && errno == EBADF) {
      [[maybe_unused]] const int opened = open("/dev/null", O_RDWR);  // takes the lowest number
    }
  }
}

ExitCode code_of(const std::filesystem::filesystem_error& error) {
  using std::errc;
  const auto& code = error.code();
  const bool absent = code == errc::no_such_file_or_directory || code == errc::not_a_directory ||
                      code == errc::too_many_symbolic_link_levels ||
                      code == errc::filename_too_long || code == errc::permission_denied;
  return absent ? ExitCode::kNoInput : ExitCode::kStorage;
}

}  // namespace

int main(int argc, char** argv) {
  open_standard_streams();
  std::signal(SIGXFSZ, SIG_IGN);  // a limit on files is an error of the write, with a message
  keep_freed_memory();
  try {
    return moesaic::trainer::run_command_line({argv + std::min(argc, 1), argv + argc});
  } catch (const moesaic::trainer::ExitError& error) {
    return rank_zero_has_spoken() ? static_cast<int>(error.code())
                                  : fail(error.code(), error.what());
  } catch (const moesaic::parallel::CommunicationError& error) {
    return fail(ExitCode::kCommunication, error.what());
  } catch (const std::filesystem::filesystem_error& error) {
    return fail(code_of(error), error.what());
  } catch (const c10::Error& error) {
    return fail(ExitCode::kInternal, error.what_without_backtrace());
  } catch (const std::exception& error) {
    return fail(ExitCode::kInternal, error.what());
  } catch (...) {
    return fail(ExitCode::kInternal, "an exception of unknown type");
  }
}
