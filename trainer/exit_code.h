// The exit codes of every command (README, "Exit codes") and the exception that carries one.
#pragma once

#include <stdexcept>
#include <string>

namespace moesaic::trainer {

enum class ExitCode : int {
  kDone = 0,
  kUsage = 64,          ///< the command line itself is wrong
  kBadFile = 65,        ///< bad data or file
  kNoInput = 66,        ///< a file or folder that was named is not there
  kInternal = 70,       ///< internal error, non-finite training, or results that are not equal
  kCommunication = 71,  ///< a communication error or a hang
  kStorage = 74,        ///< I/O or checkpoint
  kPreempted = 75,      ///< a signal asked for the end: saved, run the same command again
  kConfiguration = 78,  ///< the configuration is wrong
};

/// A failure that the user can understand: main() prints the message and ends with the code.
class ExitError : public std::runtime_error {
 public:
  ExitError(ExitCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ExitCode code() const { return code_; }

 private:
  ExitCode code_;
};

}  // namespace moesaic::trainer
