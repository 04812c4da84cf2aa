#include "trainer/metrics_log.h"

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "trainer/exit_code.h"
#include "trainer/expert_load.h"

namespace moesaic::trainer {
namespace {

using nlohmann::ordered_json;

// JSON has no word for them; null would hide which it was.
ordered_json number(double value) {
  if (std::isfinite(value)) {
    return value;
  }
  return std::isnan(value) ? "nan" : (value > 0 ? "inf" : "-inf");
}

// Keeps the lines of steps up to `last_step`.
void truncate_metrics(const std::filesystem::path& path, int64_t last_step) {
  std::ifstream in(path);
  if (!in) {
    return;
  }
  std::string kept;
  for (std::string line; std::getline(in, line);) {
    const auto entry = ordered_json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (entry.is_object() && entry.contains("step") && entry["step"].is_number_integer() &&
        entry["step"].get<int64_t>() <= last_step) {
      kept += line + "\n";
    }
  }
  in.close();
  const auto temporary = path.string() + ".tmp";
  std::ofstream out(temporary);
  out << kept;
  out.close();
  std::error_code error;
  if (out) {
    std::filesystem::rename(temporary, path, error);
  }
  if (!out || error) {
    throw ExitError(ExitCode::kStorage,
                    "cannot write " + temporary + " to replace " + path.string());
  }
}

std::string duration(double seconds) {
  const auto total = static_cast<int64_t>(std::max(seconds, 0.0));
  if (total < 60) {
    return fmt::format("{}s", total);
  }
  if (total < 3600) {
    return fmt::format("{}m{:02}s", total / 60, total % 60);
  }
  return fmt::format("{}h{:02}m", total / 3600, total / 60 % 60);
}

}  // namespace

MetricsLog::MetricsLog(const std::filesystem::path& run_dir, int64_t resumed_step)
    : path_(run_dir / "metrics.jsonl") {
  truncate_metrics(path_, resumed_step);
  file_.open(path_, std::ios::app);
  if (!file_) {
    throw ExitError(ExitCode::kStorage, "cannot open " + path_.string() + " for writing");
  }
}

void MetricsLog::write_line(const std::string& json) {
  file_ << json << '\n' << std::flush;
  if (!file_) {
    throw ExitError(ExitCode::kStorage, "cannot write to " + path_.string());
  }
}

void MetricsLog::write_step(const LoggedStep& logged, const StepMetrics& metrics) {
  const auto load = summarize_expert_load(metrics.counts_LE, metrics.dropped_L);
  ordered_json layers = ordered_json::array();
  for (int64_t layer = 0; layer < metrics.counts_LE.size(0); ++layer) {
    const auto row = metrics.counts_LE.select(0, layer).contiguous();
    const auto* counts = row.const_data_ptr<int64_t>();
    layers.push_back({{"tokens_per_expert", std::vector<int64_t>(counts, counts + row.numel())},
                      {"max_violation", load.max_violation_L[layer]},
                      {"load_entropy", load.entropy_L[layer]},
                      {"dropped", load.dropped_L[layer]}});
  }
  ordered_json entry = {{"step", logged.step},
                        {"loss", number(metrics.loss)},
                        {"load_balance_loss", number(metrics.auxiliary.load_balance)},
                        {"router_z_loss", number(metrics.auxiliary.router_z)},
                        {"grad_norm", number(metrics.grad_norm)},
                        {"lr", logged.lr},
                        {"skipped", metrics.skipped},
                        {"tokens", logged.num_tokens},
                        {"step_ms", logged.step_ms},
                        {"tokens_per_second", logged.tokens_per_second},
                        {"drop_fraction", load.drop_fraction},
                        {"dead_experts", load.num_dead},
                        {"layers", std::move(layers)}};
  write_line(entry.dump());
}

void MetricsLog::write_validation(int64_t step, double loss, int64_t num_targets) {
  write_line(ordered_json{
      {"step", step}, {"validation_loss", number(loss)}, {"validation_targets", num_targets}}
                 .dump());
}

std::string console_line(const LoggedStep& logged, const StepMetrics& metrics) {
  const auto load = summarize_expert_load(metrics.counts_LE, metrics.dropped_L);
  const double remaining_s =
      static_cast<double>(logged.max_steps - logged.step) * logged.step_ms / 1000.0;
  return fmt::format(
      "step {}/{} | loss {:.4f} | balance {:.3f} z {:.2f} | norm {:.3f} | lr {:.2e} | "
      "max load +{:.0f}% (layer {}) drop {:.1f}% dead {} | {:.0f} ms {:.0f} tokens/s | eta {}{}",
      logged.step, logged.max_steps, metrics.loss, metrics.auxiliary.load_balance,
      metrics.auxiliary.router_z, metrics.grad_norm, logged.lr,
      100.0 * load.max_violation_L[load.worst_layer], load.worst_layer, 100.0 * load.drop_fraction,
      load.num_dead, logged.step_ms, logged.tokens_per_second, duration(remaining_s),
      metrics.skipped ? " | SKIPPED (not finite)" : "");
}

}  // namespace moesaic::trainer
