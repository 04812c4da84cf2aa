// The cases in which a layout must not change the maths, each a tiny model with activations of
// order one and a global batch of eight sequences; run as threads (layout_equivalence_test.cpp) and
// under mpirun (trainer_mpi_test.cpp).
#pragma once

#include <cstdint>
#include <ostream>
#include <string>
#include <vector>

#include "trainer/training_state.h"

namespace moesaic::tests {

inline constexpr int64_t kNumSequences = 8;
inline constexpr int64_t kNumUpdates = 5;

/// expert_data x expert ranks; accumulation follows from the micro-batch size.
struct Layout {
  int expert_data = 1;
  int expert = 1;
  int64_t micro_batch_size = kNumSequences;  ///< sequences
  int world_size() const { return expert_data * expert; }
  std::string text() const;
};

struct LayoutCase {
  /// Which experts the tokens are driven to by a direction that all embeddings share.
  enum class Skew {
    kNone,
    kFirstExpert,     ///< nearly all to expert 0; the upper half of the experts gets nothing
    kOnlyLastExpert,  ///< every first choice is the last expert
  };
  enum class Targets {
    kMost,           ///< one in eight is not counted, and none of sequence 5
    kFirstHalfOnly,  ///< the last rank of two, the last two of four have none
    kNone,
  };
  /// Tokens with equal contexts have mathematically equal weights: a tie goes to the earlier one.
  enum class Tokens {
    kRandom,
    kRepeated,     ///< most sequences repeat one token
    kEqualStarts,  ///< all sequences begin with the same two tokens
  };

  std::string name;
  trainer::TrainingOptions options = {};
  int64_t sequence_length = 6;
  Skew skew = Skew::kNone;
  Targets targets = Targets::kMost;
  Tokens tokens = Tokens::kRandom;
  /// Groups of the balance term or of the capacity are micro-batches: only layouts of equal
  /// micro-batch size are comparable.
  bool depends_on_micro_batch = false;
  /// Counts of the whole step: every forward precedes the first backward.
  bool one_micro_batch = false;
  /// Every layout at accumulation 1 and 2; else each layout at one of them.
  bool all_layouts = false;
  /// A query of a single key has no gradient: what is left there is rounding.
  bool attention_has_one_key = false;
  /// Some choice is dropped at each layer / some expert gets no token: asserted of the reference.
  bool must_drop = false;
  bool must_have_idle_expert = false;
};
inline void PrintTo(const LayoutCase& value, std::ostream* out) {
  *out << value.name;
}

const std::vector<LayoutCase>& layout_cases();
const LayoutCase& layout_case(const std::string& name);

/// The layouts of a case on `world_size` ranks.
std::vector<Layout> layouts_of(const LayoutCase& layout_case, int world_size);
/// Micro-batch size of the run on one rank that a layout is compared with.
int64_t reference_micro_batch_size(const LayoutCase& layout_case, const Layout& layout);

/// The global batch of one step, the same for every layout.
moe::MicroBatch global_batch(const LayoutCase& layout_case, int64_t step);
/// Changes the initial weights as the case's skew asks.
void apply_skew(const LayoutCase& layout_case, moe::LanguageModel& model);

}  // namespace moesaic::tests
