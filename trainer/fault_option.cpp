#include "trainer/fault_option.h"

#include <ATen/Functions.h>
#include <fmt/format.h>

#include <array>
#include <string_view>
#include <utility>

#include "trainer/exit_code.h"

namespace moesaic::trainer {
namespace {

using parallel::FaultInjection;

constexpr std::array<std::pair<std::string_view, FaultInjection::Kind>, 6> kFaults = {{
    {"scale_gradient", FaultInjection::Kind::scale_gradient},
    {"drop_row", FaultInjection::Kind::drop_row},
    {"skip_reduce", FaultInjection::Kind::skip_reduce},
    {"stale_count", FaultInjection::Kind::stale_count},
    {"double_aux", FaultInjection::Kind::double_aux},
    {"corrupt@all_to_all", FaultInjection::Kind::corrupt_all_to_all},
}};

}  // namespace

std::shared_ptr<FaultInjection> make_fault_injection(const std::optional<std::string>& fault,
                                                     const parallel::Communicator& world) {
  if (!fault) {
    return nullptr;
  }
  std::string known;
  for (const auto& [name, kind] : kFaults) {
    known += fmt::format("{}{}", known.empty() ? "" : ", ", name);
    if (name != *fault) {
      continue;
    }
    if (world.size() == 1) {
      throw ExitError(ExitCode::kConfiguration,
                      fmt::format("debug.fault: {} acts on the last rank of a parallel run, and "
                                  "this one has one rank: nothing to hit",
                                  *fault));
    }
    auto injection = std::make_shared<FaultInjection>();
    injection->kind = kind;
    injection->active = world.rank() == world.size() - 1;
    return injection;
  }
  throw ExitError(ExitCode::kConfiguration,
                  fmt::format("debug.fault: {} is not one of {}", *fault, known));
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
