// debug.fault: breaks one thing on purpose on the last rank of a parallel run.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "parallel/communicator.h"
#include "parallel/fault_injection.h"

namespace moesaic::trainer {

/// Null when no fault is asked for. Throws ExitError(kConfiguration) for an unknown kind, and for a
/// world of one rank, which a fault never touches.
std::shared_ptr<parallel::FaultInjection> make_fault_injection(
    const std::optional<std::string>& fault, const parallel::Communicator& world);

/// A fault that has hit nothing proves nothing: throws ExitError(kConfiguration) on every rank when
/// no rank was hit. `fault` may be null: then it does nothing. Collective.
void check_fault_was_hit(const parallel::FaultInjection* fault, parallel::Communicator& world);

}  // namespace moesaic::trainer
