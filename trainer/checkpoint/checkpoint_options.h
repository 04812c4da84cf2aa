// The `checkpoint:` section: when a checkpoint is written and how many stay.
#pragma once

#include <cstdint>
#include <optional>

namespace moesaic::trainer {

struct CheckpointOptions {
  std::optional<int64_t> interval;
  std::optional<int64_t> keep_last;

  template <typename Visitor>
  void describe(Visitor& visitor) {
    visitor.option("interval", interval,
                   {.help = "Steps between checkpoints; null writes one at the end only.",
                    .minimum = 1,
                    .may_change_on_resume = true});
    visitor.option("keep_last", keep_last,
                   {.help = "Newest checkpoints that stay on disk; null keeps all.",
                    .minimum = 1,
                    .may_change_on_resume = true});
  }
};

}  // namespace moesaic::trainer
