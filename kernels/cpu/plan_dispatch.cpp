// The dispatch plan on the CPU: a stable counting sort of the choices by expert, O(T K + G E).
//
// One thread: a plan of 4096 tokens and 8 choices takes a few hundred microseconds.
// Shape letters: kernels/ops.h. A choice is numbered token * K + k; its order is its priority.
#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>
#include <span>
#include <vector>

#include <ATen/Functions.h>

namespace moesaic::kernels::cpu {
namespace {

struct Choices {
  std::span<const int64_t> expert_idx;  // [T * K]
  int64_t choices_per_group;
  int64_t num_groups;
  int64_t num_experts;

  Choices(const at::Tensor& expert_idx_TK, int64_t tokens_per_group, int64_t experts)
      : expert_idx(expert_idx_TK.const_data_ptr<int64_t>(),
                   static_cast<size_t>(expert_idx_TK.numel())),
        choices_per_group(tokens_per_group * expert_idx_TK.size(1)),
        num_groups(tokens_per_group == 0 ? 0 : expert_idx_TK.size(0) / tokens_per_group),
        num_experts(experts) {}

  std::span<const int64_t> of_group(int64_t group) const {
    return expert_idx.subspan(static_cast<size_t>(group * choices_per_group),
                              static_cast<size_t>(choices_per_group));
  }
};

void count(const Choices& choices, int64_t* counts_GE, const char* op) {
  for (int64_t group = 0; group < choices.num_groups; ++group) {
    int64_t* counts_E = counts_GE + group * choices.num_experts;
    for (const int64_t e : choices.of_group(group)) {
      TORCH_CHECK_INDEX(e >= 0 && e < choices.num_experts, op, ": expert ", e, " is not in [0, ",
                        choices.num_experts, ")");
      ++counts_E[e];
    }
  }
}

void drop_by_position(const Choices& choices, int64_t capacity, std::vector<char>& kept) {
  std::vector<int64_t> seen_E(static_cast<size_t>(choices.num_experts));
  size_t choice = 0;
  for (int64_t group = 0; group < choices.num_groups; ++group) {
    std::ranges::fill(seen_E, 0);
    for (const int64_t e : choices.of_group(group)) {
      kept[choice++] = seen_E[static_cast<size_t>(e)]++ < capacity;
    }
  }
}

// Larger weights win, ties to the earlier choice. NaN counts as the largest, as in at::sort.
void drop_by_probability(const Choices& choices, const double* weights, const int64_t* counts_GE,
                         int64_t capacity, std::vector<char>& kept) {
  const auto wins = [weights](int64_t a, int64_t b) {
    const double weight_a = weights[a];
    const double weight_b = weights[b];
    if (weight_a > weight_b || (std::isnan(weight_a) && !std::isnan(weight_b))) {
      return true;
    }
    const bool tie = weight_a == weight_b || (std::isnan(weight_a) && std::isnan(weight_b));
    return tie && a < b;
  };
  std::vector<std::vector<int64_t>> choices_of_E(static_cast<size_t>(choices.num_experts));
  for (int64_t group = 0; group < choices.num_groups; ++group) {
    const int64_t* counts_E = counts_GE + group * choices.num_experts;
    int64_t choice = group * choices.choices_per_group;
    for (const int64_t e : choices.of_group(group)) {
      if (counts_E[e] > capacity) {
        choices_of_E[static_cast<size_t>(e)].push_back(choice);
      }
      ++choice;
    }
    for (auto& candidates : choices_of_E) {
      if (candidates.empty()) {
        continue;
      }
      const auto losers = candidates.begin() + capacity;
      std::nth_element(candidates.begin(), losers, candidates.end(), wins);
      std::for_each(losers, candidates.end(), [&](int64_t a) { kept[static_cast<size_t>(a)] = 0; });
      candidates.clear();
    }
  }
}

std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor> plan_dispatch_cpu(
    const at::Tensor& expert_idx_TK, const at::Tensor& weights_TK, int64_t num_experts,
    int64_t tokens_per_group, std::optional<int64_t> capacity, bool by_probability) {
  const auto expert_idx = expert_idx_TK.contiguous();
  const Choices choices(expert_idx, tokens_per_group, num_experts);
  const auto counts_GE = at::zeros({choices.num_groups, num_experts}, expert_idx.options());
  count(choices, counts_GE.mutable_data_ptr<int64_t>(), "plan_dispatch");

  std::vector<char> kept(choices.expert_idx.size(), 1);
  if (capacity.has_value() && by_probability) {
    // To double: exact for every floating type, so the order is that of the weights.
    const auto weights = weights_TK.to(at::kDouble).contiguous();
    drop_by_probability(choices, weights.const_data_ptr<double>(),
                        counts_GE.const_data_ptr<int64_t>(), *capacity, kept);
  } else if (capacity.has_value()) {
    drop_by_position(choices, *capacity, kept);
  }

  const auto num_rows_E = at::zeros({num_experts}, expert_idx.options());
  auto* num_rows = num_rows_E.mutable_data_ptr<int64_t>();
  for (size_t choice = 0; choice < kept.size(); ++choice) {
    num_rows[choices.expert_idx[choice]] += kept[choice];
  }
  std::vector<int64_t> next_row_E(static_cast<size_t>(num_experts));
  std::exclusive_scan(num_rows, num_rows + num_experts, next_row_E.begin(), int64_t{0});
  const int64_t total_rows = std::accumulate(num_rows, num_rows + num_experts, int64_t{0});

  const auto source_R = at::empty({total_rows}, expert_idx.options());
  const auto row_of_choice_TK = at::empty_like(expert_idx);
  auto* source = source_R.mutable_data_ptr<int64_t>();
  auto* row_of_choice = row_of_choice_TK.mutable_data_ptr<int64_t>();
  for (size_t choice = 0; choice < kept.size(); ++choice) {
    row_of_choice[choice] =
        kept[choice] ? next_row_E[static_cast<size_t>(choices.expert_idx[choice])]++ : -1;
    if (kept[choice]) {
      source[row_of_choice[choice]] = static_cast<int64_t>(choice);
    }
  }
  return {source_R, row_of_choice_TK, counts_GE, num_rows_E};
}

at::Tensor count_choices_cpu(const at::Tensor& expert_idx_TK, int64_t num_experts,
                             int64_t tokens_per_group) {
  const auto expert_idx = expert_idx_TK.contiguous();
  const Choices choices(expert_idx, tokens_per_group, num_experts);
  const auto counts_GE = at::zeros({choices.num_groups, num_experts}, expert_idx.options());
  count(choices, counts_GE.mutable_data_ptr<int64_t>(), "count_choices");
  return counts_GE;
}

}  // namespace
}  // namespace moesaic::kernels::cpu

TORCH_LIBRARY_IMPL(moesaic, CPU, m) {
  m.impl("plan_dispatch", &moesaic::kernels::cpu::plan_dispatch_cpu);
  m.impl("count_choices", &moesaic::kernels::cpu::count_choices_cpu);
}
