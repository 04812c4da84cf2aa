// debug.fault: breaks one thing on purpose on the last rank of a parallel run.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "parallel/communicator.h"
#include "parallel/fault_injection.h"

namespace moesaic::trainer {

/// The value of debug.fault, taken apart: a numerical fault (KIND, struck wherever it can), or one
/// of the process (KIND@PHASE,step=N, see timed_fault.h).
struct FaultOption {
  enum class Process { kNone, kKill, kStop, kSlow, kNan, kNoSpace, kShortWrite };

  parallel::FaultInjection::Kind numerical = parallel::FaultInjection::Kind::none;
  Process process = Process::kNone;
  std::string phase;  ///< of a process fault: `step` or a phase of the saving
  int64_t step = 0;   ///< of a process fault: the number of the step, from 1
};

/// Nothing for a text that names no fault.
std::optional<FaultOption> parse_fault(const std::string& text);
/// All that parse_fault takes, for messages and help.
std::string known_faults();

/// Null when no fault is asked for. Throws ExitError(kConfiguration) for an unknown one, and for a
/// world of one rank, which a fault never touches. Of a process fault the kind is none: a
/// TimedFault gives it one when its time has come.
std::shared_ptr<parallel::FaultInjection> make_fault_injection(
    const std::optional<std::string>& fault, const parallel::Communicator& world);

/// A fault that has hit nothing proves nothing: throws ExitError(kConfiguration) on every rank when
/// no rank was hit. `fault` may be null: then it does nothing. Collective.
void check_fault_was_hit(const parallel::FaultInjection* fault, parallel::Communicator& world);

}  // namespace moesaic::trainer
