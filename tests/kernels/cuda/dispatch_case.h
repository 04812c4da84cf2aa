// The edge grid of kernels that follow a dispatch plan.
#pragma once

#include <ATen/Functions.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "kernels/reference/plan_dispatch.h"
#include "tests/support/random_tensor.h"

namespace moesaic::kernels::cuda {

/// T tokens of width D with K choices among E experts that keep `capacity` each (none: all).
struct DispatchCase {
  int64_t num_tokens;
  int64_t width;
  int64_t num_experts;
  int64_t top_k;
  std::optional<int64_t> capacity = std::nullopt;
  bool one_expert = false;  ///< the first choice of every token is expert 0

  DispatchPlan plan() const {
    auto expert_idx_TK = tests::random_integers(num_experts, {num_tokens, top_k}, 71);
    if (one_expert) {
      expert_idx_TK.select(1, 0).zero_();
    }
    return reference::plan_dispatch(expert_idx_TK, at::ones({num_tokens, top_k}), num_experts,
                                    num_tokens, capacity, DropPolicy::kPosition);
  }
};

/// No token, one, none kept, K = 1 and K = E, K above the rows in flight, E no multiple of 32,
/// widths for every access and for more than one turn of a block over a row.
inline std::vector<DispatchCase> dispatch_cases() {
  constexpr bool kOneExpert = true;
  return {{0, 8, 3, 2},
          {1, 8, 3, 2},
          {1, 1, 1, 1},
          {9, 8, 5, 2, 2},
          {9, 5, 3, 2, 2},
          {19, 12, 7, 1},
          {11, 16, 4, 4, 9},
          {11, 16, 9, 9, 8},
          {20, 32, 33, 6, 0},
          {20, 32, 33, 6, 1},
          {17, 24, 6, 3, std::nullopt, kOneExpert},
          {17, 7, 6, 3, 5, kOneExpert},
          {17, 8, 6, 1, std::nullopt, kOneExpert},
          {17, 8, 6, 1, 5, kOneExpert},
          {13, 0, 4, 2},
          {3, 301, 5, 3, 2},
          {3, 1032, 5, 3, 2},
          {40, 130, 40, 8, 7}};
}

/// Blocks of a launch: one, some, as many as the kernel likes.
inline const std::vector<int64_t> kGrids = {1, 3, 65536};

}  // namespace moesaic::kernels::cuda
