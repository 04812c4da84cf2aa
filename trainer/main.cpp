// The program: runs the command line, prints what went wrong, and turns it into an exit code.
#include <malloc.h>

#include <chrono>
#include <iostream>
#include <thread>

#include "parallel/communicator.h"
#include "trainer/command_line.h"
#include "trainer/exit_code.h"
#include "trainer/launch.h"

namespace {

using moesaic::trainer::ExitCode;

/// `rank R: ` in a job of several ranks, else `moesaic: `, before the message.
void print_error(const std::string& message) {
  bool alone = moesaic::trainer::launch_world_size().value_or(1) == 1;
  auto speaker = alone ? "moesaic" : "rank " + std::to_string(moesaic::trainer::launch_rank());
  std::cerr << speaker + ": " + message + "\n" << std::flush;
}

/// What is wrong with the command line or a file is wrong on all ranks alike. Rank 0 says so;
/// mpirun then ends the others before they repeat it. A rank that is alone with its trouble still
/// speaks.
void let_rank_zero_speak(ExitCode code) {
  bool alike = code == ExitCode::kUsage || code == ExitCode::kConfiguration ||
               code == ExitCode::kNoInput || code == ExitCode::kBadFile;
  if (alike && moesaic::trainer::launch_rank() != 0) {
    std::this_thread::sleep_for(std::chrono::seconds(2));
  }
}

int fail(ExitCode code, const std::string& message) {
  let_rank_zero_speak(code);
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
    return fail(error.code(), error.what());
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
