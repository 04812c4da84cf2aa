#include "trainer/bench/bench_report.h"

#include <fmt/format.h>

namespace moesaic::trainer {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kGiga = 1e9;
constexpr double kMilli = 1e-3;

std::string sizes_text(const Json& sizes) {
  std::string text;
  for (const auto& [name, value] : sizes.items()) {
    const auto shown = value.is_string() ? value.get<std::string>() : value.dump();
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", name, shown);
  }
  return text;
}

std::string line(const BenchResult& result, bool is_yardstick) {
  const bool compute = result.bound == Bound::kCompute;
  auto text = fmt::format("{:<38} {:>10.3f} {:>10.3f}  {:>8.1f} {:>8.1f} {:<7}", result.name,
                          result.time.best_s / kMilli, result.time.median_s / kMilli,
                          result.rate.best / kGiga, result.rate.median / kGiga,
                          compute ? "GFLOP/s" : "GB/s");
  if (!is_yardstick) {
    text += fmt::format("  {:>5.1f} % {:>5.1f} % of {}", 100 * result.fraction.best,
                        100 * result.fraction.median, compute ? "product" : "copy");
  }
  if (result.tokens > 0.0) {
    text += fmt::format("  {:.0f} {:.0f} tokens/s", result.tokens / result.time.best_s,
                        result.tokens / result.time.median_s);
  }
  return text + "\n";
}

Json rate_json(const Rate& rate) {
  return {{"best", rate.best}, {"median", rate.median}};
}

Json result_json(const BenchResult& result) {
  const bool compute = result.bound == Bound::kCompute;
  Json json = {{"name", result.name},
               {"bound", compute ? "compute" : "memory"},
               {"flops", result.work.flops},
               {"least_bytes", result.work.bytes},
               {"seconds", {{"best", result.time.best_s}, {"median", result.time.median_s}}},
               {compute ? "flops_per_second" : "bytes_per_second", rate_json(result.rate)},
               {"fraction_of_yardstick", rate_json(result.fraction)}};
  if (result.tokens > 0.0) {
    json["tokens_per_second"] = rate_json(rate_of(result.tokens, result.time));
  }
  return json;
}

}  // namespace

std::string bench_table(const BenchSubject& subject, const BenchReport& report) {
  auto text =
      fmt::format("bench {}: {}, {}, {} round{}\n{}\n", subject.kind, subject.device, subject.dtype,
                  subject.rounds, subject.rounds == 1 ? "" : "s", sizes_text(subject.sizes));
  text += fmt::format("{:<38} {:>10} {:>10}  {:>8} {:>8} {:<7}  {:>7} {:>7}\n", "", "best ms",
                      "median ms", "best", "median", "", "best", "median");
  text += line(report.product, /*is_yardstick=*/true);
  text += line(report.copy, /*is_yardstick=*/true);
  for (const auto& result : report.results) {
    text += line(result, /*is_yardstick=*/false);
  }
  return text;
}

std::string bench_json(const BenchSubject& subject, const BenchReport& report) {
  auto results = Json::array();
  for (const auto& result : report.results) {
    results.push_back(result_json(result));
  }
  const Json json = {{"bench", subject.kind},
                     {"device", subject.device},
                     {"dtype", subject.dtype},
                     {"sizes", subject.sizes},
                     {"rounds", subject.rounds},
                     {"yardsticks", {result_json(report.product), result_json(report.copy)}},
                     {"results", results}};
  return json.dump(2) + "\n";
}

}  // namespace moesaic::trainer
