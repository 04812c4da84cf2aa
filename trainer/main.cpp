// The program: runs the command line, prints what went wrong, and turns it into an exit code.
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

/// Usage and configuration are wrong on all ranks alike: rank 0 says so. The others give it time,
/// because mpirun ends the job with the first rank that ends.
bool rank_zero_speaks(ExitCode code) {
  bool alike = code == ExitCode::kUsage || code == ExitCode::kConfiguration;
  if (!alike || moesaic::trainer::launch_rank() == 0) {
    return false;
  }
  std::this_thread::sleep_for(std::chrono::seconds(2));
  return true;
}

int fail(ExitCode code, const std::string& message) {
  if (!rank_zero_speaks(code)) {
    print_error(message);
  }
  return static_cast<int>(code);
}

}  // namespace

int main(int argc, char** argv) {
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
