#include "kernels/reference/sort_chunks.h"

#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "kernels/ops.h"
#include "tests/support/gradcheck.h"
#include "tests/support/random_tensor.h"
#include "tests/support/tensor_check.h"
#include "tests/support/thread_count.h"

namespace moesaic::kernels {
namespace {

using tests::all_equal;
using tests::random_integers;
using tests::random_tensor;

at::Tensor counts_of(std::initializer_list<int64_t> counts, int64_t num_outer) {
  return at::tensor(counts, at::kLong).view({num_outer, -1});
}

class SortChunksTest : public testing::TestWithParam<at::Tensor> {
 protected:
  int64_t num_rows() const { return GetParam().sum().item<int64_t>(); }
};

TEST_P(SortChunksTest, MovesTheBitsOfTheReference) {
  for (const auto dtype :
       {at::kFloat, at::kDouble, at::kBFloat16, at::kHalf, at::kLong, at::kBool}) {
    const auto rows_RD = random_tensor({num_rows(), 5}, 61).mul(100).to(dtype);
    EXPECT_TRUE(
        all_equal(sort_chunks(rows_RD, GetParam()), reference::sort_chunks(rows_RD, GetParam())));
  }
}

TEST_P(SortChunksTest, TransposedCountsUndoIt) {
  const auto rows_RD = random_tensor({num_rows(), 3}, 62);
  EXPECT_TRUE(all_equal(sort_chunks(sort_chunks(rows_RD, GetParam()), GetParam().t()), rows_RD));
}

TEST_P(SortChunksTest, GradientsAreThoseOfCentralDifferences) {
  const auto sort = [&](const std::vector<at::Tensor>& in) {
    return sort_chunks(in[0], GetParam());
  };
  EXPECT_TRUE(tests::gradcheck(sort, {random_tensor({num_rows(), 2}, 63)}));
}

INSTANTIATE_TEST_SUITE_P(Grid, SortChunksTest,
                         testing::Values(counts_of({3, 1, 2, 4, 0, 5}, 2), counts_of({0, 0}, 2),
                                         counts_of({0, 0, 7, 0}, 2), counts_of({1}, 1),
                                         counts_of({2, 3, 4}, 1), counts_of({2, 3, 4}, 3),
                                         counts_of({0, 2, 0, 0, 0, 1, 0, 0}, 4)));

TEST(SortChunks, PutsRanksBesideEachOtherForEachExpert) {
  // Rank 0 sends rows 0 1 | 2, rank 1 sends 3 | 4 5.
  const auto rows_R1 = at::arange(6, at::kFloat).unsqueeze(1);
  const auto sorted_R1 = sort_chunks(rows_R1, counts_of({2, 1, 1, 2}, 2));
  EXPECT_TRUE(all_equal(sorted_R1.squeeze(1), at::tensor({0.0F, 1.0F, 3.0F, 2.0F, 4.0F, 5.0F})));
}

TEST(SortChunks, NoChunkAndRowsOfNoWidth) {
  EXPECT_EQ(sort_chunks(at::ones({0, 4}), at::zeros({0, 3}, at::kLong)).sizes(),
            at::IntArrayRef({0, 4}));
  EXPECT_EQ(sort_chunks(at::ones({3, 0}), counts_of({1, 2}, 2)).sizes(), at::IntArrayRef({3, 0}));
}

TEST(SortChunks, NonContiguousInput) {
  const auto counts_AB = random_integers(5, {3, 4}, 64);
  const auto rows_DR = random_tensor({7, counts_AB.sum().item<int64_t>()}, 65);
  EXPECT_TRUE(all_equal(sort_chunks(rows_DR.t(), counts_AB.t()),
                        reference::sort_chunks(rows_DR.t().contiguous(), counts_AB.t())));
}

TEST(SortChunks, SameBitsForAnyNumberOfThreads) {
  const auto counts_AB = random_integers(90, {8, 16}, 66);
  const auto rows_RD = random_tensor({counts_AB.sum().item<int64_t>(), 65}, 67, at::kFloat);
  const auto expected = reference::sort_chunks(rows_RD, counts_AB);
  for (const int num_threads : {1, 2, 4}) {
    const tests::ThreadCount threads(num_threads);
    EXPECT_TRUE(all_equal(sort_chunks(rows_RD, counts_AB), expected)) << num_threads;
  }
}

TEST(SortChunks, RefusesWhatItCannotDo) {
  const auto rows_RD = at::ones({6, 4});
  EXPECT_THROW(sort_chunks(rows_RD, counts_of({2, 3}, 1)), c10::Error);
  EXPECT_THROW(sort_chunks(rows_RD, counts_of({7, -1}, 1)), c10::Error);
  EXPECT_THROW(sort_chunks(rows_RD, counts_of({2, 4}, 1).to(at::kInt)), c10::Error);
  EXPECT_THROW(sort_chunks(rows_RD, at::tensor({2, 4}, at::kLong)), c10::Error);
  EXPECT_THROW(sort_chunks(at::ones({6}), counts_of({2, 4}, 1)), c10::Error);
}

TEST(SortChunks, RefusesDoubleBackward) {
  const auto rows_RD = random_tensor({6, 4}, 68).set_requires_grad(true);
  const auto loss = sort_chunks(rows_RD, counts_of({2, 4}, 1)).square().sum();
  EXPECT_THROW(torch::autograd::grad({loss}, {rows_RD}, {}, true, /*create_graph=*/true),
               c10::Error);
}

}  // namespace
}  // namespace moesaic::kernels
