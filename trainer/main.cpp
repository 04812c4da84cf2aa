// The program: runs the command line, prints what went wrong, and turns it into an exit code.
#include <malloc.h>

#include <chrono>
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
  auto speaker = alone ? "moesaic" : "rank " + std::to_string(moesaic::trainer::launch_rank());
  std::cerr << speaker + ": " + message + "\n" << std::flush;
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

}  // namespace

int main(int argc, char** argv) {
  keep_freed_memory();
  try {
    return moesaic::trainer::run_command_line({argv + std::min(argc, 1), argv + argc});
  } catch (const moesaic::trainer::ExitError& error) {
    return rank_zero_has_spoken() ? static_cast<int>(error.code())
                                  : fail(error.code(), error.what());
  } catch (const moesaic::parallel::CommunicationError& error) {
    return fail(ExitCode::kCommunication, error.what());
  } catch (const c10::Error& error) {
    return fail(ExitCode::kInternal, error.what_without_backtrace());
  } catch (const std::exception& error) {
    return fail(ExitCode::kInternal, error.what());
  } catch (...) {
    return fail(ExitCode::kInternal, "an exception of unknown type");
  }
}
