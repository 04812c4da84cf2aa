#include "kernels/reference/auxiliary_sums.h"

#include <ATen/Functions.h>
#include <gtest/gtest.h>

#include "kernels/ops.h"
#include "tests/support/random_tensor.h"
#include "tests/support/tensor_check.h"

namespace moesaic::kernels {
namespace {

using tests::all_close;
using tests::random_tensor;

TEST(AuxiliarySums, EqualReference) {
  for (const auto dtype : {at::kFloat, at::kDouble}) {
    for (const auto& [num_groups, tokens_per_group, num_experts] :
         std::vector<std::array<int64_t, 3>>{
             {1, 1, 1}, {3, 5, 7}, {2, 700, 33}, {1, 1030, 64}, {0, 4, 8}}) {
      const int64_t num_tokens = num_groups * tokens_per_group;
      const auto probs_TE = random_tensor({num_tokens, num_experts}, 50, dtype).abs();
      const auto logsumexp_T = random_tensor({num_tokens}, 51, dtype);
      const auto sums = auxiliary_sums(probs_TE, logsumexp_T, tokens_per_group);
      const auto expected = reference::auxiliary_sums(probs_TE, logsumexp_T, tokens_per_group);
      EXPECT_EQ(sums.prob_sums_GE.sizes(), at::IntArrayRef({num_groups, num_experts}));
      EXPECT_EQ(sums.logsumexp_squares_G.sizes(), at::IntArrayRef({num_groups}));
      EXPECT_TRUE(all_close(sums.prob_sums_GE, expected.prob_sums_GE, 1e-12, 0));
      EXPECT_TRUE(all_close(sums.logsumexp_squares_G, expected.logsumexp_squares_G, 1e-12, 0));
    }
  }
}

// 2^24 + 1 is no float32: an accumulation in float32 would lose every 1 after the first.
TEST(AuxiliarySums, AreAddedInFloat64) {
  const auto probs_TE = at::ones({3, 2});
  probs_TE[0].fill_(16777216.0);
  const auto logsumexp_T = at::ones({3});
  logsumexp_T[0] = 4097.0;  // its square is 2^24 + 2^13 + 1
  const auto sums = auxiliary_sums(probs_TE, logsumexp_T, 3);
  EXPECT_EQ(sums.prob_sums_GE[0][1].item<double>(), 16777218.0);
  EXPECT_EQ(sums.logsumexp_squares_G[0].item<double>(), 4097.0 * 4097.0 + 2.0);
}

TEST(AuxiliarySums, TakeRowsWithGaps) {
  const auto wide_TE = random_tensor({6, 10}, 52).abs();
  const auto probs_TE = wide_TE.narrow(1, 2, 5);
  const auto logsumexp_T = wide_TE.select(1, 0);
  const auto sums = auxiliary_sums(probs_TE, logsumexp_T, 3);
  const auto expected = reference::auxiliary_sums(probs_TE, logsumexp_T, 3);
  EXPECT_TRUE(all_close(sums.prob_sums_GE, expected.prob_sums_GE, 1e-12, 0));
  EXPECT_TRUE(all_close(sums.logsumexp_squares_G, expected.logsumexp_squares_G, 1e-12, 0));
}

TEST(AuxiliarySums, RefuseWhatTheyCannotDo) {
  EXPECT_THROW(auxiliary_sums(at::ones({5, 4}), at::ones({5}), 2), c10::Error);
  EXPECT_THROW(auxiliary_sums(at::ones({4, 4}), at::ones({4}), 0), c10::Error);
  EXPECT_THROW(auxiliary_sums(at::ones({4}), at::ones({4}), 2), c10::Error);
  EXPECT_THROW(auxiliary_sums(at::ones({4, 4}, at::kLong), at::ones({4}, at::kLong), 2),
               c10::Error);
  EXPECT_THROW(auxiliary_sums(at::ones({4, 4}), at::ones({3}), 2), c10::Error);
  EXPECT_THROW(auxiliary_sums(at::ones({4, 4}), at::ones({4, 1}), 2), c10::Error);
  EXPECT_THROW(auxiliary_sums(at::ones({4, 4}), at::ones({4}, at::kDouble), 2), c10::Error);
}

}  // namespace
}  // namespace moesaic::kernels
