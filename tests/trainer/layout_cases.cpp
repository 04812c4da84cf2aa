#include "tests/trainer/layout_cases.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <torch/csrc/autograd/grad_mode.h>

#include <stdexcept>

#include "moe/model/micro_batch.h"
#include "tests/support/random_tensor.h"

namespace moesaic::tests {
namespace {

using moe::BalanceFormula;
using moe::BalanceScope;
using moe::CapacityGroup;
using moe::DropPolicy;
using Skew = LayoutCase::Skew;

constexpr int64_t kVocabSize = 29;

// Weights of 0.4: pre-activations, logits and router scores of order one.
LayoutCase new_case(const std::string& name) {
  LayoutCase result{.name = name};
  auto& model = result.options.model;
  model.vocab_size = kVocabSize;
  model.hidden_size = 16;
  model.intermediate_size = 8;
  model.num_hidden_layers = 2;
  model.num_attention_heads = 2;
  model.max_position_embeddings = 16;
  model.initializer_range = 0.4;
  model.num_experts = 8;
  model.num_experts_per_tok = 2;
  result.options.moe.load_balance.coef = 0.1;
  result.options.moe.router_z_loss_coef = 0.05;
  result.options.optimizer.max_grad_norm = 0.5;  // smaller than any norm here: always clips
  result.options.dtype = at::kDouble;
  result.options.seed = 7;
  result.options.bucket_bytes = 10000;  // several buckets, some parameters larger than one
  return result;
}

LayoutCase with_capacity(LayoutCase result, double factor, DropPolicy policy,
                         CapacityGroup group = CapacityGroup::kSequence) {
  result.options.moe.capacity = {factor, group, policy};
  result.must_drop = true;
  result.depends_on_micro_batch |= group == CapacityGroup::kMicroBatch;
  return result;
}

LayoutCase with_scope(LayoutCase result, BalanceScope scope,
                      BalanceFormula formula = BalanceFormula::kSwitch) {
  result.options.moe.load_balance.scope = scope;
  result.options.moe.load_balance.formula = formula;
  result.depends_on_micro_batch |= scope == BalanceScope::kMicroBatch;
  result.one_micro_batch |= scope == BalanceScope::kGlobal;
  return result;
}

LayoutCase with_skew(LayoutCase result, Skew skew) {
  result.skew = skew;
  result.must_have_idle_expert = true;
  return result;
}

LayoutCase in_all_layouts(LayoutCase result) {
  result.all_layouts = true;
  return result;
}

LayoutCase with_experts(LayoutCase result, int64_t num_experts, int64_t top_k) {
  result.options.model.num_experts = num_experts;
  result.options.model.num_experts_per_tok = top_k;
  return result;
}

std::vector<LayoutCase> dropping_cases() {
  const auto by_micro_batch = CapacityGroup::kMicroBatch;
  return {
      in_all_layouts(with_capacity(new_case("CapacityByPosition"), 0.7, DropPolicy::kPosition)),
      in_all_layouts(
          with_capacity(new_case("CapacityByProbability"), 0.7, DropPolicy::kProbability)),
      with_capacity(new_case("CapacityByPositionOfMicroBatches"), 0.7, DropPolicy::kPosition,
                    by_micro_batch),
      with_scope(with_capacity(new_case("CapacityByProbabilityOfMicroBatches"), 0.7,
                               DropPolicy::kProbability, by_micro_batch),
                 BalanceScope::kMicroBatch),
      with_skew(with_capacity(new_case("SkewedCapacityByPosition"), 1.25, DropPolicy::kPosition),
                Skew::kFirstExpert),
      with_skew(
          with_capacity(new_case("SkewedCapacityByProbability"), 1.25, DropPolicy::kProbability),
          Skew::kFirstExpert),
  };
}

std::vector<LayoutCase> balance_cases() {
  const auto global = BalanceScope::kGlobal;
  return {
      with_scope(new_case("ScopeMicroBatch"), BalanceScope::kMicroBatch),
      with_scope(new_case("ScopeGlobal"), global),
      with_scope(with_skew(with_capacity(new_case("ScopeGlobalSkewedCapacity"), 1.0,
                                         DropPolicy::kPosition),
                           Skew::kFirstExpert),
                 global),
      with_scope(new_case("FormulaHf"), global, BalanceFormula::kHuggingFace),
      with_scope(with_skew(new_case("FormulaHfSkewed"), Skew::kFirstExpert), global,
                 BalanceFormula::kHuggingFace),
  };
}

std::vector<LayoutCase> target_cases() {
  auto half = in_all_layouts(new_case("RankWithoutTargets"));
  half.targets = LayoutCase::Targets::kFirstHalfOnly;
  auto half_global = with_scope(new_case("RankWithoutTargetsScopeGlobal"), BalanceScope::kGlobal);
  half_global.targets = LayoutCase::Targets::kFirstHalfOnly;
  auto none = new_case("NoTargets");
  none.targets = LayoutCase::Targets::kNone;
  return {half, half_global, none};
}

std::vector<LayoutCase> model_cases() {
  auto normalised = new_case("NormTopkProb");
  normalised.options.model.norm_topk_prob = true;
  auto tied = new_case("TiedHead");
  tied.options.model.tie_word_embeddings = true;
  auto grouped = new_case("GroupedQueriesClipped");
  grouped.options.model.num_attention_heads = 4;
  grouped.options.model.num_key_value_heads = 2;
  grouped.options.model.clip_qkv = 0.8;
  auto forced = with_experts(new_case("ForceBalance"), 8, 3);
  forced.options.force_balance = true;
  auto no_auxiliary = with_capacity(new_case("NoAuxiliaryTerms"), 0.7, DropPolicy::kProbability);
  no_auxiliary.options.moe.load_balance.coef = 0.0;
  no_auxiliary.options.moe.router_z_loss_coef.reset();
  auto uneven = with_experts(new_case("SixExperts"), 6, 2);
  auto uneven_dropping = with_capacity(with_experts(new_case("SixExpertsCapacity"), 6, 3), 0.7,
                                       DropPolicy::kProbability);
  uneven_dropping.options.model.norm_topk_prob = true;
  return {normalised, tied, grouped, forced, no_auxiliary, uneven, uneven_dropping};
}

std::vector<LayoutCase> edge_cases() {
  auto single_token = new_case("OneTokenPerSequence");
  single_token.sequence_length = 1;
  single_token.attention_has_one_key = true;
  auto single_token_dropping = with_capacity(with_experts(new_case("OneTokenOneChoice"), 4, 1), 0.5,
                                             DropPolicy::kPosition, CapacityGroup::kMicroBatch);
  single_token_dropping.sequence_length = 1;
  single_token_dropping.attention_has_one_key = true;
  // Capacity ceil(0.5 * b / 4) is one, so micro-batches of one token drop nothing.
  single_token_dropping.must_drop = false;
  auto exchange_with_oneself = new_case("AllToAllInGroupsOfOne");
  exchange_with_oneself.options.moe.dispatcher = moe::DispatcherKind::kAllToAll;
  auto dense = with_experts(new_case("OneExpert"), 1, 1);
  dense.options.model.norm_topk_prob = true;
  // Identical tokens have mathematically equal weights: the tie must go to the earlier one.
  auto repeated =
      with_capacity(new_case("RepeatedTokensByProbability"), 1.0, DropPolicy::kProbability);
  repeated.tokens = LayoutCase::Tokens::kRepeated;
  auto equal_starts = with_capacity(new_case("EqualStartsByProbability"), 1.0,
                                    DropPolicy::kProbability, CapacityGroup::kMicroBatch);
  equal_starts.tokens = LayoutCase::Tokens::kEqualStarts;
  return {
      with_skew(with_experts(new_case("OneExpertGetsAll"), 8, 1), Skew::kOnlyLastExpert),
      with_skew(with_capacity(with_experts(new_case("OneExpertGetsAllCapacity"), 8, 1), 1.0,
                              DropPolicy::kProbability),
                Skew::kOnlyLastExpert),
      in_all_layouts(with_skew(new_case("SkewedDropless"), Skew::kFirstExpert)),
      with_experts(new_case("AsManyExpertsAsRanks"), 4, 2),
      with_experts(new_case("AllExpertsChosen"), 4, 4),
      single_token,
      single_token_dropping,
      exchange_with_oneself,
      dense,
      repeated,
      equal_starts,
  };
}

void append(std::vector<LayoutCase>& cases, std::vector<LayoutCase> more) {
  std::move(more.begin(), more.end(), std::back_inserter(cases));
}

}  // namespace

std::string Layout::text() const {
  return std::to_string(expert_data) + " x " + std::to_string(expert) + ", micro-batches of " +
         std::to_string(micro_batch_size);
}

const std::vector<LayoutCase>& layout_cases() {
  static const auto cases = [] {
    std::vector<LayoutCase> all = {in_all_layouts(new_case("Dropless"))};
    append(all, dropping_cases());
    append(all, balance_cases());
    append(all, target_cases());
    append(all, model_cases());
    append(all, edge_cases());
    return all;
  }();
  return cases;
}

const LayoutCase& layout_case(const std::string& name) {
  for (const auto& candidate : layout_cases()) {
    if (candidate.name == name) {
      return candidate;
    }
  }
  throw std::out_of_range("no layout case is called " + name);
}

std::vector<Layout> layouts_of(const LayoutCase& layout_case, int world_size) {
  std::vector<Layout> layouts;
  for (int expert = 1; expert <= world_size; expert *= 2) {
    if (expert > layout_case.options.model.num_experts) {
      break;
    }
    // Groups of micro-batches: the same two sizes in every world. Else accumulation 1 and 2.
    const int64_t large =
        layout_case.depends_on_micro_batch ? 2 : kNumSequences / int64_t{world_size};
    const Layout one = {world_size / expert, expert, large};
    const Layout two = {world_size / expert, expert, large / 2};
    const bool in_issue = !(one.expert_data == 4 && expert == 1);
    if (layout_case.all_layouts) {
      layouts.push_back(one);
      layouts.push_back(two);
    } else if (layout_case.one_micro_batch) {
      layouts.push_back(one);
    } else if (in_issue || layout_case.options.model.num_experts == 1) {
      layouts.push_back(one.expert_data == expert || expert == 1 ? one : two);
    }
  }
  return layouts;
}

int64_t reference_micro_batch_size(const LayoutCase& layout_case, const Layout& layout) {
  return layout_case.depends_on_micro_batch ? layout.micro_batch_size : kNumSequences;
}

moe::MicroBatch global_batch(const LayoutCase& layout_case, int64_t step) {
  const std::vector<int64_t> shape = {kNumSequences, layout_case.sequence_length};
  const auto seed = static_cast<uint64_t>(3 * step);
  moe::MicroBatch batch;
  batch.input_ids_BS = random_integers(kVocabSize, shape, seed);
  if (layout_case.tokens == LayoutCase::Tokens::kRepeated) {
    const auto first_61 = batch.input_ids_BS.narrow(0, 2, 6).narrow(1, 0, 1);
    batch.input_ids_BS.narrow(0, 2, 6).copy_(first_61.clone().expand({6, shape[1]}));
  }
  if (layout_case.tokens == LayoutCase::Tokens::kEqualStarts) {
    batch.input_ids_BS.narrow(1, 0, 2).fill_(3);
  }
  batch.targets_BS = random_integers(kVocabSize, shape, seed + 1);
  batch.targets_BS.masked_fill_(random_integers(8, shape, seed + 2).eq(0), moe::kIgnoredTarget);
  if (layout_case.targets == LayoutCase::Targets::kNone) {
    batch.targets_BS.fill_(moe::kIgnoredTarget);
  } else if (layout_case.targets == LayoutCase::Targets::kFirstHalfOnly) {
    batch.targets_BS.narrow(0, kNumSequences / 2, kNumSequences / 2).fill_(moe::kIgnoredTarget);
  }
  batch.targets_BS[5].fill_(moe::kIgnoredTarget);
  return batch;
}

void apply_skew(const LayoutCase& layout_case, moe::LanguageModel& model) {
  if (layout_case.skew == Skew::kNone) {
    return;
  }
  const at::NoGradGuard no_grad;
  const auto ends_with = [](const std::string& name, std::string_view end) {
    return name.size() >= end.size() &&
           name.compare(name.size() - end.size(), end.size(), end) == 0;
  };
  const int64_t num_experts = model.config().num_experts;
  for (const auto& parameter : model.parameters()) {
    auto weight = parameter.spec.tensor->detach();
    const auto& name = parameter.slices[0].tensor.name;
    if (name == "model.embed_tokens.weight") {
      weight.select(1, 0).add_(layout_case.skew == Skew::kOnlyLastExpert ? 8.0 : 4.0);
    } else if (ends_with(name, "mlp.gate.weight")) {
      auto column_E = weight.select(1, 0);
      if (layout_case.skew == Skew::kOnlyLastExpert) {
        column_E.fill_(-8.0)[num_experts - 1] = 8.0;
      } else {
        column_E.narrow(0, num_experts / 2, num_experts - num_experts / 2).sub_(4.0);
        column_E[0].add_(1.5);
      }
    }
  }
}

}  // namespace moesaic::tests
