// The sums of the auxiliary terms through the CUDA kernels, against float64 sums.
#include "kernels/cuda/auxiliary_sums.h"

#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include <tuple>

#include "tests/kernels/cuda/device_buffer.h"
#include "tests/kernels/cuda/for_each_order.h"
#include "tests/kernels/cuda/grids.h"
#include "tests/support/random_tensor.h"
#include "tests/support/tensor_check.h"

MOESAIC_KERNEL_TEST(sum_runs_kernel)
MOESAIC_KERNEL_TEST(sum_partials_kernel)

namespace moesaic::kernels::cuda {
namespace {

using tests::all_close;
using tests::all_equal;
using tests::for_each_order;
using tests::random_tensor;

struct Sums {
  at::Tensor probs_GE;
  at::Tensor logsumexp_squares_G;
};

template <class Value>
Sums run_as(const at::Tensor& probs_TE, const at::Tensor& logsumexp_T, const TokenGroups& groups,
            int64_t max_blocks) {
  const auto unwritten = [](at::IntArrayRef sizes) {
    return DeviceBuffer<double>(at::full(sizes, NAN, at::kDouble));
  };
  const DeviceBuffer<Value> probs(probs_TE);
  const auto partials = unwritten({groups.num_partials()});
  const auto prob_sums = unwritten({groups.num_groups, groups.num_experts});
  const auto squares = unwritten({groups.num_groups});
  if (logsumexp_T.defined()) {
    const DeviceBuffer<Value> logsumexp(logsumexp_T);
    auxiliary_sums<Value>(probs.data(), logsumexp.data(), groups, partials.data(), prob_sums.data(),
                          squares.data(), nullptr, max_blocks);
  } else {
    auxiliary_sums<Value>(probs.data(), nullptr, groups, partials.data(), prob_sums.data(), nullptr,
                          nullptr, max_blocks);
  }
  return {prob_sums.to_tensor({groups.num_groups, groups.num_experts}),
          squares.to_tensor({groups.num_groups})};
}

Sums run(const at::Tensor& probs_TE, const at::Tensor& logsumexp_T, const TokenGroups& groups,
         int64_t max_blocks) {
  return probs_TE.scalar_type() == at::kDouble
             ? run_as<double>(probs_TE, logsumexp_T, groups, max_blocks)
             : run_as<float>(probs_TE, logsumexp_T, groups, max_blocks);
}

// G, tokens a group, E
using Case = std::tuple<int64_t, int64_t, int64_t>;

class CudaAuxiliarySumsTest : public testing::TestWithParam<Case> {};

TEST_P(CudaAuxiliarySumsTest, AreTheSumsOfEachGroup) {
  const auto [num_groups, tokens_per_group, num_experts] = GetParam();
  const TokenGroups groups{num_groups, tokens_per_group, num_experts};
  for (const auto dtype : {at::kFloat, at::kDouble}) {
    const auto probs_TE =
        random_tensor({num_groups * tokens_per_group, num_experts}, 1, dtype).softmax(-1);
    const auto logsumexp_T = random_tensor({num_groups * tokens_per_group}, 2, dtype).add(4);
    const auto expected_GE =
        probs_TE.to(at::kDouble).view({num_groups, tokens_per_group, num_experts}).sum(1);
    const auto expected_squares_G =
        logsumexp_T.to(at::kDouble).square().view({num_groups, tokens_per_group}).sum(1);
    const auto sums = run(probs_TE, logsumexp_T, groups, kMaxBlocks);
    EXPECT_TRUE(all_close(sums.probs_GE, expected_GE, 1e-13, 0));
    EXPECT_TRUE(all_close(sums.logsumexp_squares_G, expected_squares_G, 1e-13, 0));
    for_each_order([&] {
      for (const int64_t max_blocks : grids()) {
        const auto again = run(probs_TE, logsumexp_T, groups, max_blocks);
        EXPECT_TRUE(all_equal(again.probs_GE, sums.probs_GE));
        EXPECT_TRUE(all_equal(again.logsumexp_squares_G, sums.logsumexp_squares_G));
      }
      const auto probs_only = run(probs_TE, at::Tensor(), groups, kMaxBlocks);
      EXPECT_TRUE(all_equal(probs_only.probs_GE, sums.probs_GE));
      EXPECT_TRUE(probs_only.logsumexp_squares_G.isnan().all().item<bool>());
    });
  }
}

INSTANTIATE_TEST_SUITE_P(Grid, CudaAuxiliarySumsTest,
                         testing::Values(Case{0, 0, 4}, Case{2, 0, 4}, Case{1, 1, 1}, Case{3, 5, 4},
                                         Case{4, 16, 31}, Case{2, 9, 32}, Case{2, 1100, 33},
                                         Case{1, 512, 8}, Case{1, 513, 70}));

}  // namespace
}  // namespace moesaic::kernels::cuda
