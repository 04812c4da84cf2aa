// What `moesaic bench` prints: a table, or JSON.
#pragma once

#include <nlohmann/json.hpp>

#include <string>

#include "trainer/bench/bench_run.h"

namespace moesaic::trainer {

/// What was measured, beside the numbers.
struct BenchSubject {
  std::string kind = {};    ///< "operators", "layer" or "step"
  std::string device = {};  ///< BenchDevice::description()
  std::string dtype = {};
  nlohmann::ordered_json sizes = {};  ///< name -> value, in the order to be shown
  int64_t rounds = 0;
};

/// One line a result: best and median time, the rate of both, both fractions of the yardstick; the
/// yardsticks first. Tokens a second where a result has tokens.
std::string bench_table(const BenchSubject& subject, const BenchReport& report);

/// The same with every number in SI units: seconds, operations and bytes, a second.
std::string bench_json(const BenchSubject& subject, const BenchReport& report);

}  // namespace moesaic::trainer
