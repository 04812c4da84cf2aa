#include "trainer/fault_option.h"

#include <ATen/Functions.h>
#include <fmt/format.h>

#include <array>
#include <string_view>
#include <utility>

#include "trainer/config/scalar.h"
#include "trainer/exit_code.h"

namespace moesaic::trainer {
namespace {

using parallel::FaultInjection;
using Process = FaultOption::Process;

constexpr std::array<std::pair<std::string_view, FaultInjection::Kind>, 6> kNumericalFaults = {{
    {"scale_gradient", FaultInjection::Kind::scale_gradient},
    {"drop_row", FaultInjection::Kind::drop_row},
    {"skip_reduce", FaultInjection::Kind::skip_reduce},
    {"stale_count", FaultInjection::Kind::stale_count},
    {"double_aux", FaultInjection::Kind::double_aux},
    {"corrupt@all_to_all", FaultInjection::Kind::corrupt_all_to_all},
}};

struct ProcessFault {
  std::string_view name;
  Process process;
  bool at_step;
  bool at_save;
};
constexpr std::array<ProcessFault, 6> kProcessFaults = {{
    {"kill", Process::kKill, true, true},
    {"stop", Process::kStop, true, true},
    {"slow", Process::kSlow, true, true},
    {"nan", Process::kNan, true, false},
    {"enospc", Process::kNoSpace, false, true},
    {"short_write", Process::kShortWrite, false, true},
}};

constexpr std::string_view kStepPhase = "step";
// SaveRequest::at_phase (trainer/checkpoint/checkpoint_writer.h).
constexpr std::array<std::string_view, 6> kSavePhases = {
    "save.begin",         "save.after_write",  "save.before_manifest",
    "save.before_rename", "save.after_rename", "save.before_latest"};

std::optional<FaultOption> parse_process_fault(const std::string& text) {
  const auto at = text.find('@');
  const auto comma = text.find(",step=", std::min(at, text.size()));
  if (at == text.npos || comma == text.npos) {
    return std::nullopt;
  }
  FaultOption option;
  option.phase = text.substr(at + 1, comma - at - 1);
  const bool is_step = option.phase == kStepPhase;
  const bool is_save =
      std::find(kSavePhases.begin(), kSavePhases.end(), option.phase) != kSavePhases.end();
  if (!parse_integer(text.substr(comma + 6), option.step).empty() || option.step < 1) {
    return std::nullopt;
  }
  for (const auto& fault : kProcessFaults) {
    if (fault.name == text.substr(0, at) &&
        ((is_step && fault.at_step) || (is_save && fault.at_save))) {
      option.process = fault.process;
      return option;
    }
  }
  return std::nullopt;
}

}  // namespace

std::optional<FaultOption> parse_fault(const std::string& text) {
  for (const auto& [name, kind] : kNumericalFaults) {
    if (name == text) {
      FaultOption option;
      option.numerical = kind;
      return option;
    }
  }
  return parse_process_fault(text);
}

std::string known_faults() {
  std::string known;
  for (const auto& [name, kind] : kNumericalFaults) {
    known += fmt::format("{}, ", name);
  }
  return fmt::format(
      "{}{{kill | stop | slow | nan}}@{},step=N, {{kill | stop | slow | enospc | "
      "short_write}}@PHASE,step=N with PHASE one of {}",
      known, kStepPhase, fmt::join(kSavePhases, ", "));
}

std::shared_ptr<FaultInjection> make_fault_injection(const std::optional<std::string>& fault,
                                                     const parallel::Communicator& world) {
  if (!fault) {
    return nullptr;
  }
  const auto option = parse_fault(*fault);
  if (!option) {
    throw ExitError(ExitCode::kConfiguration,
                    fmt::format("debug.fault: {} is not one of {}", *fault, known_faults()));
  }
  if (world.size() == 1) {
    throw ExitError(ExitCode::kConfiguration,
                    fmt::format("debug.fault: {} acts on the last rank of a parallel run, and "
                                "this one has one rank: nothing to hit",
                                *fault));
  }
  auto injection = std::make_shared<FaultInjection>();
  injection->kind = option->numerical;
  injection->active = world.rank() == world.size() - 1;
  return injection;
}

void check_fault_was_hit(const FaultInjection* fault, parallel::Communicator& world) {
  if (fault == nullptr) {
    return;
  }
  const auto hits = at::full({1}, fault->hits.load(), at::kLong);
  world.all_reduce_max(hits)->wait();
  if (hits.item<int64_t>() == 0) {
    throw ExitError(ExitCode::kConfiguration,
                    "debug.fault: this run has nothing that the fault could hit");
  }
}

}  // namespace moesaic::trainer
