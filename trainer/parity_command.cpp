// moesaic parity: this implementation against a golden folder, in any layout.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "trainer/commands.h"
#include "trainer/config/read_config.h"
#include "trainer/distributed_session.h"
#include "trainer/exit_code.h"
#include "trainer/fault_option.h"
#include "trainer/kernel_log.h"
#include "trainer/launch.h"
#include "trainer/parity/parity_run.h"

namespace moesaic::trainer {
namespace {

std::string report_text(const std::vector<Comparison>& comparisons) {
  std::string text =
      fmt::format("{:<16}  {:>10}  {:>10}  {}\n", "quantity", "worst", "bound", "at");
  for (const auto& comparison : comparisons) {
    if (!comparison.compared) {
      text += fmt::format("{:<16}  not compared: the reference has no such entry\n",
                          comparison.quantity);
      continue;
    }
    text += fmt::format("{:<16}  {:>10.3g}  {:>10.3g}  {}{}\n", comparison.quantity,
                        comparison.difference, comparison.bound, comparison.worst,
                        comparison.ok() ? "" : "  <- NOT EQUAL");
    if (!comparison.not_compared.empty()) {
      text += fmt::format("{:<16}  not compared, absent from the reference: {}\n", "",
                          fmt::join(comparison.not_compared, ", "));
    }
  }
  return text;
}

std::string report_json(const std::vector<Comparison>& comparisons,
                        const std::vector<std::string>& ranks, bool equal) {
  auto quantities = nlohmann::ordered_json::array();
  for (const auto& comparison : comparisons) {
    nlohmann::ordered_json entry = {{"quantity", comparison.quantity},
                                    {"compared", comparison.compared}};
    if (comparison.compared) {
      entry["worst"] = comparison.worst;
      entry["difference"] = comparison.difference;
      entry["bound"] = comparison.bound;
      entry["ok"] = comparison.ok();
      entry["not_compared"] = comparison.not_compared;
    }
    quantities.push_back(std::move(entry));
  }
  auto rank_entries = nlohmann::ordered_json::array();
  for (const auto& rank : ranks) {
    rank_entries.push_back(nlohmann::ordered_json::parse(rank));
  }
  return nlohmann::ordered_json{
             {"equal", equal}, {"quantities", quantities}, {"ranks", rank_entries}}
             .dump(2) +
         "\n";
}

// The worst of all entries: the tensor to look at first.
const Comparison& worst_of(const std::vector<Comparison>& comparisons) {
  return *std::max_element(comparisons.begin(), comparisons.end(),
                           [](const auto& a, const auto& b) {
                             return (a.compared ? a.used() : -1.0) < (b.compared ? b.used() : -1.0);
                           });
}

// Gradients and final weights: their entries are tensors with a name.
std::vector<Comparison> tensor_comparisons(const std::vector<Comparison>& comparisons) {
  std::vector<Comparison> tensors;
  std::copy_if(comparisons.begin(), comparisons.end(), std::back_inserter(tensors),
               [](const Comparison& comparison) { return comparison.of_tensors; });
  return tensors;
}

std::string description(const Comparison& comparison) {
  return fmt::format("{}, {} ({:.3g}, bound {:.3g})", comparison.quantity, comparison.worst,
                     comparison.difference, comparison.bound);
}

}  // namespace

int parity_command(const ParityArguments& arguments) {
  check_kernel_log(arguments.kernel_log);
  const auto config = read_overrides(
      arguments.overrides, {"parallel", "trainer", "data.micro_batch_size", "kernels", "debug"});
  const auto golden = read_golden_case(arguments.folder);
  const DistributedSession session(config);
  report_device(session.device());
  auto mesh = session.make_mesh();
  const auto fault = make_fault_injection(config.debug.fault, *session.world());

  const int64_t num_sequences = golden.find("input_ids").size(0);
  const int data_size = mesh.group("data")->size();
  ParityOptions options;
  options.micro_batch_size = config.origins.contains("data.micro_batch_size")
                                 ? config.data.micro_batch_size
                                 : std::max<int64_t>(num_sequences / data_size, 1);
  options.dtype = parameter_dtype(config);
  options.device = session.device().device;
  options.force_balance = config.debug.force_balance;

  ParityRun run(golden, mesh, options, fault);
  const auto comparisons = run.run();
  check_fault_was_hit(fault.get(), *session.world());
  const bool equal = std::all_of(comparisons.begin(), comparisons.end(),
                                 [](const Comparison& comparison) { return comparison.ok(); });
  if (arguments.json) {
    const auto ranks = gather_texts(run.rank_json(), *session.world());
    print_once(report_json(comparisons, ranks, equal));
  } else {
    print_once(report_text(comparisons));
  }
  print_kernel_log(arguments.kernel_log);
  if (!equal) {
    // All ranks know it: rank 0 says it, and all leave together.
    if (session.world()->rank() == 0) {
      const auto tensor = worst_of(tensor_comparisons(comparisons));
      fmt::print(stderr, "moesaic: parity {}: not equal; worst: {}{}\n", arguments.folder.string(),
                 description(worst_of(comparisons)),
                 tensor.compared ? "; worst tensor: " + description(tensor) : "");
    }
    return static_cast<int>(ExitCode::kInternal);
  }
  return static_cast<int>(ExitCode::kDone);
}

}  // namespace moesaic::trainer
