// The `data:` section: which token files are read, and how a global batch is cut.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace moesaic::trainer {

/// Prefixes of Megatron token files: PREFIX.bin and PREFIX.idx.
struct SourceOptions {
  std::vector<std::string> train;
  std::vector<std::string> validation;

  template <typename Visitor>
  void describe(Visitor& visitor) {
    visitor.option("train", train,
                   {.help = "Prefixes of the training token files (PREFIX.bin, PREFIX.idx).",
                    .required = true,
                    .may_change_on_resume = true});  // the fingerprint guards what they hold
    visitor.option(
        "validation", validation,
        {.help = "Prefixes of the validation token files.", .may_change_on_resume = true});
  }
};

/// Batch sizes are in sequences.
struct DataOptions {
  int64_t global_batch_size = 0;  ///< required
  int64_t micro_batch_size = 1;
  int64_t sequence_length = 0;  ///< required
  SourceOptions sources;
  int64_t seed = 0;

  template <typename Visitor>
  void describe(Visitor& visitor) {
    visitor.option("global_batch_size", global_batch_size,
                   {.help = "Sequences of one optimizer step, over all ranks.",
                    .minimum = 1,
                    .required = true});
    visitor.option(
        "micro_batch_size", micro_batch_size,
        {.help = "Sequences of one forward and backward on one rank; accumulation follows.",
         .minimum = 1,
         .may_change_on_resume = true});
    visitor.option("sequence_length", sequence_length,
                   {.help = "Tokens of a training sequence.", .minimum = 1, .required = true});
    visitor.section("sources", sources,
                    "Token files, written by `moesaic data prepare` or by Megatron.");
    visitor.option("seed", seed,
                   {.help = "Seed of the order of the training sequences.", .minimum = 0});
  }
};

}  // namespace moesaic::trainer
