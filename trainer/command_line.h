// The command line: verbs, flags, help. It decides what was meant and calls the verb.
#pragma once

#include <string>
#include <vector>

namespace moesaic::trainer {

/// Runs `moesaic ARGUMENTS...` (without the program's name) and returns the exit code. Throws
/// ExitError(kUsage) for a command line that is wrong, naming the nearest verb or flag; and what
/// the verb throws.
int run_command_line(const std::vector<std::string>& arguments);

}  // namespace moesaic::trainer
