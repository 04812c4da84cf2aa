#include "kernels/reference/auxiliary_sums.h"

#include <ATen/Functions.h>
#include <gtest/gtest.h>

#include "kernels/ops.h"
#include "tests/support/random_tensor.h"

namespace moesaic::kernels {
namespace {

using tests::random_tensor;

TEST(SumProbs, EqualsReference) {
  for (const auto dtype : {at::kFloat, at::kDouble}) {
    for (const auto& [num_groups, tokens_per_group, num_experts] :
         std::vector<std::array<int64_t, 3>>{
             {1, 1, 1}, {3, 5, 7}, {2, 700, 33}, {1, 1030, 64}, {0, 4, 8}}) {
      const auto probs_TE =
          random_tensor({num_groups * tokens_per_group, num_experts}, 50, dtype).abs();
      const auto sums_GE = sum_probs(probs_TE, tokens_per_group);
      EXPECT_EQ(sums_GE.scalar_type(), at::kDouble);
      EXPECT_EQ(sums_GE.sizes(), at::IntArrayRef({num_groups, num_experts}));
      EXPECT_TRUE(at::allclose(sums_GE, reference::sum_probs(probs_TE, tokens_per_group),
                               /*rtol=*/1e-12, /*atol=*/0));
    }
  }
}

// 2^24 + 1 is no float32: an accumulation in float32 would lose every 1 after the first.
TEST(SumProbs, AddsInFloat64) {
  const auto probs_TE = at::ones({3, 2});
  probs_TE[0].fill_(16777216.0);
  EXPECT_EQ(sum_probs(probs_TE, 3)[0][1].item<double>(), 16777218.0);
}

TEST(SumProbs, TakesRowsWithGaps) {
  const auto wide_TE = random_tensor({6, 10}, 51).abs();
  const auto probs_TE = wide_TE.narrow(1, 2, 5);
  EXPECT_TRUE(at::allclose(sum_probs(probs_TE, 3), reference::sum_probs(probs_TE, 3), 1e-12, 0));
}

TEST(SumProbs, RefusesWhatItCannotDo) {
  EXPECT_THROW(sum_probs(at::ones({5, 4}), 2), c10::Error);
  EXPECT_THROW(sum_probs(at::ones({4, 4}), 0), c10::Error);
  EXPECT_THROW(sum_probs(at::ones({4}), 2), c10::Error);
  EXPECT_THROW(sum_probs(at::ones({4, 4}, at::kLong), 2), c10::Error);
}

}  // namespace
}  // namespace moesaic::kernels
