// A fault of the process at one place of one step (debug.fault: KIND@PHASE,step=N): the rank is
// killed, stopped or late, its loss is not a number, its disk is full or loses data.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "trainer/checkpoint/faulty_file_operations.h"
#include "trainer/fault_option.h"

namespace moesaic::trainer {

class TimedFault {
 public:
  /// `injection`: of make_fault_injection; says whether this is the rank that is hit, counts the
  /// hits, and carries a NaN into the training step.
  TimedFault(const FaultOption& option, std::shared_ptr<parallel::FaultInjection> injection);

  /// The run has come to `phase` (`step`: before the forward; else a phase of the saving) of step
  /// number `step`. May end or stop the process, or take two seconds.
  void reach(std::string_view phase, int64_t step);

  /// The system calls of a save; null where they are the plain ones.
  FileOperations* file_operations() { return operations_.get(); }

 private:
  FaultOption option_;
  std::shared_ptr<parallel::FaultInjection> injection_;
  std::unique_ptr<FaultyFileOperations> operations_;
};

}  // namespace moesaic::trainer
