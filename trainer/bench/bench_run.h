// Verifies the cases, then times them in rounds with the yardsticks in between.
#pragma once

#include <string>
#include <vector>

#include "trainer/bench/bench_case.h"
#include "trainer/bench/bench_device.h"
#include "trainer/bench/statistics.h"

namespace moesaic::trainer {

struct BenchResult {
  std::string name;
  Bound bound = Bound::kMemory;
  Work work;
  double tokens = 0.0;  ///< of one run, or 0
  TimeSummary time;
  Rate rate;      ///< flops or bytes a second, as `bound` says
  Rate fraction;  ///< of the yardstick; of a yardstick itself 1
};

struct BenchReport {
  BenchResult product;  ///< the yardstick of what is bound by compute
  BenchResult copy;     ///< the yardstick of what is bound by memory
  std::vector<BenchResult> results;
};

struct BenchRunOptions {
  int64_t rounds = 12;
  at::ScalarType dtype = at::kFloat;        ///< of the product
  int64_t product_size = 2048;              ///< n of the [n, n] matrices
  int64_t copy_bytes = int64_t{256} << 20;  ///< larger than any last cache
};

/// In every round each yardstick and each case runs once, so that a noisy neighbour meets all of
/// them; caches are flushed before each. One round more, the first, is not counted. Throws
/// ExitError(kInternal) before anything is timed if a case differs from its reference.
BenchReport run_bench(BenchDevice& device, const std::vector<BenchCase>& cases,
                      const BenchRunOptions& options);

}  // namespace moesaic::trainer
