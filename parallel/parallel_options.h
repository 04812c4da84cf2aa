// The `parallel:` section: how the ranks of the world are divided, and how long they wait for each
// other. expert_data is what remains of the world: world size / expert.
#pragma once

#include <cstdint>

namespace moesaic::parallel {

struct ParallelOptions {
  int64_t expert = 1;
  double timeout_s = 600.0;

  template <typename Visitor>
  void describe(Visitor& visitor) {
    visitor.option("expert", expert,
                   {.help = "Ranks that share the experts of a layer; divides the world size; "
                            "each has at least one.",
                    .minimum = 1,
                    .may_change_on_resume = true});
    visitor.option(
        "timeout_s", timeout_s,
        {.help = "Seconds that a communication may take before the job ends with exit code 71.",
         .maximum = 1e9,
         .above = 0.0,
         .may_change_on_resume = true});
  }
};

}  // namespace moesaic::parallel
