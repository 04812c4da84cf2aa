#include "trainer/bench/bench_run.h"

#include <ATen/Functions.h>
#include <fmt/format.h>

#include "trainer/exit_code.h"

namespace moesaic::trainer {
namespace {

BenchCase product_yardstick(const BenchDevice& device, const BenchRunOptions& options) {
  const int64_t n = options.product_size;
  const auto tensor_options = at::device(device.device()).dtype(options.dtype);
  // Values do not matter to the time, but for denormals and not-a-numbers.
  const auto a = at::full({n, n}, 0.5, tensor_options);
  const auto b = at::full({n, n}, 0.25, tensor_options);
  const auto out = at::empty({n, n}, tensor_options);
  BenchCase yardstick;
  yardstick.name = fmt::format("matrix product {}", n);
  yardstick.bound = Bound::kCompute;
  yardstick.work = square_product_work(n, options.dtype);
  yardstick.run = [=] {
    auto result = out;
    at::mm_out(result, a, b);
  };
  yardstick.mismatch = [=, run = yardstick.run] {
    run();
    return difference("product", out, at::full_like(out, 0.125 * static_cast<double>(n)), 0.0);
  };
  return yardstick;
}

BenchCase copy_yardstick(BenchDevice& device, const BenchRunOptions& options) {
  const auto tensor_options = at::device(device.device()).dtype(at::kLong);
  const auto source = at::arange(options.copy_bytes / 8, tensor_options);
  const auto destination = at::zeros_like(source);
  BenchCase yardstick;
  yardstick.name = fmt::format("copy {} MiB", options.copy_bytes >> 20);
  yardstick.bound = Bound::kMemory;
  yardstick.work = copy_work(static_cast<int64_t>(source.nbytes()));
  yardstick.run = [=, &device] { device.copy(destination, source); };
  yardstick.mismatch = [=, &device] {
    device.copy(destination, source);
    return std::string(at::equal(destination, source) ? "" : "not a copy");
  };
  return yardstick;
}

BenchResult result_of(const BenchCase& bench_case, std::vector<double> seconds) {
  BenchResult result;
  result.name = bench_case.name;
  result.bound = bench_case.bound;
  result.work = bench_case.work;
  result.tokens = bench_case.tokens;
  result.time = summarize(std::move(seconds));
  result.rate =
      rate_of(result.bound == Bound::kCompute ? result.work.flops : result.work.bytes, result.time);
  result.fraction = {1.0, 1.0};
  return result;
}

void verify(const BenchCase& bench_case) {
  if (const auto wrong = bench_case.mismatch(); !wrong.empty()) {
    throw ExitError(ExitCode::kInternal,
                    "bench: " + bench_case.name + " is not equal to its reference: " + wrong);
  }
}

}  // namespace

BenchReport run_bench(BenchDevice& device, const std::vector<BenchCase>& cases,
                      const BenchRunOptions& options) {
  std::vector<BenchCase> all = {product_yardstick(device, options),
                                copy_yardstick(device, options)};
  all.insert(all.end(), cases.begin(), cases.end());
  for (const auto& bench_case : all) {
    verify(bench_case);
  }
  std::vector<std::vector<double>> seconds(all.size());
  for (int64_t round = 0; round <= options.rounds; ++round) {
    for (size_t i = 0; i < all.size(); ++i) {
      device.flush_caches();
      const double time = device.time(all[i].run);
      if (round > 0) {
        seconds[i].push_back(time);
      }
    }
  }
  BenchReport report = {result_of(all[0], seconds[0]), result_of(all[1], seconds[1]), {}};
  for (size_t i = 2; i < all.size(); ++i) {
    auto result = result_of(all[i], seconds[i]);
    const auto& yardstick = result.bound == Bound::kCompute ? report.product : report.copy;
    result.fraction = fraction_of(result.rate, yardstick.rate);
    report.results.push_back(std::move(result));
  }
  return report;
}

}  // namespace moesaic::trainer
