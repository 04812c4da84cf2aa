#include "kernels/cuda/permute_tokens.h"

#include <gtest/gtest.h>

#include <utility>

#include "kernels/reference/permute_tokens.h"
#include "tests/kernels/cuda/device_buffer.h"
#include "tests/kernels/cuda/dispatch_case.h"
#include "tests/kernels/cuda/for_each_order.h"

MOESAIC_KERNEL_TEST(permute_tokens_kernel)

namespace moesaic::kernels::cuda {
namespace {

using tests::for_each_order;
using tests::random_tensor;

// Bytes, so that the kernel learns nothing of the dtype. Rows that nobody names stay 0x5a.
at::Tensor permute_on_device(const at::Tensor& x_TD, const at::Tensor& row_of_choice_TK,
                             int64_t num_rows, int64_t offset, int64_t max_blocks,
                             int expected_foreign_row = 0) {
  const int64_t width = x_TD.size(1);
  const int64_t row_bytes = width * static_cast<int64_t>(x_TD.element_size());
  const DeviceBuffer<uint8_t> x(x_TD, offset);
  const DeviceBuffer<int64_t> row_of_choice(row_of_choice_TK);
  const DeviceBuffer<uint8_t> rows(at::full({num_rows * row_bytes}, 0x5a, at::kByte), offset);
  const DeviceBuffer<int> foreign_row(at::zeros({1}, at::kInt));
  permute_tokens(x.data(), row_of_choice.data(), x_TD.size(0), row_of_choice_TK.size(1), num_rows,
                 row_bytes, rows.data(), foreign_row.data(), /*stream=*/nullptr, max_blocks);
  EXPECT_EQ(foreign_row.to_tensor({1}).item<int>(), expected_foreign_row);
  return rows.to_tensor({num_rows, width}, x_TD.scalar_type());
}

TEST(CudaPermuteTokens, MovesTheBitsOfTheReference) {
  for (const auto& c : dispatch_cases()) {
    const auto plan = c.plan();
    const int64_t num_rows = plan.source_R.size(0);
    for (const auto& [dtype, max_blocks] : {std::pair<at::ScalarType, int64_t>{at::kByte, 1},
                                            {at::kBFloat16, 3},
                                            {at::kFloat, kMaxBlocks},
                                            {at::kDouble, 2}}) {
      const auto x_TD = random_tensor({c.num_tokens, c.width}, 81).mul(100).to(dtype);
      const auto expected_RD = reference::permute_tokens(x_TD, plan);
      for_each_order([&] {
        EXPECT_TRUE(same_bits(
            permute_on_device(x_TD, plan.row_of_choice_TK, num_rows, /*offset=*/0, max_blocks),
            expected_RD))
            << dtype << " " << max_blocks << " blocks";
      });
    }
  }
}

TEST(CudaPermuteTokens, RowsWiderThanABlockMovesInOneTurn) {
  const DispatchCase c{3, 0, 5, 3, 2};
  const auto plan = c.plan();
  for (const int64_t width : {1301, 20016}) {  // in units of 1 and of 16 bytes
    const auto x_TD = random_tensor({c.num_tokens, width}, 83).mul(100).to(at::kByte);
    const auto expected_RD = reference::permute_tokens(x_TD, plan);
    for_each_order([&] {
      for (const int64_t max_blocks : {int64_t{1}, kMaxBlocks}) {
        EXPECT_TRUE(same_bits(permute_on_device(x_TD, plan.row_of_choice_TK, plan.source_R.size(0),
                                                /*offset=*/0, max_blocks),
                              expected_RD));
      }
    });
  }
}

TEST(CudaPermuteTokens, MovesThemFromAndToAnyAddress) {
  const DispatchCase c{9, 16, 5, 3, 4};
  const auto plan = c.plan();
  const auto x_TD = random_tensor({c.num_tokens, c.width}, 82, at::kFloat);
  const auto expected_RD = reference::permute_tokens(x_TD, plan);
  for_each_order([&] {
    for (const int64_t offset : {1, 2, 4, 8}) {
      EXPECT_TRUE(same_bits(
          permute_on_device(x_TD, plan.row_of_choice_TK, plan.source_R.size(0), offset, kMaxBlocks),
          expected_RD))
          << offset;
    }
  });
}

TEST(CudaPermuteTokens, WritesNamedRowsOnly) {
  // Row 1 is nobody's, choice (1, 0) is dropped; any negative row means dropped.
  const auto row_of_choice_TK = at::tensor({2, 0, -7, 3}, at::kLong).view({2, 2});
  const auto x_TD = at::tensor({1, 2}, at::kByte).unsqueeze(1);
  for_each_order([&] {
    EXPECT_TRUE(same_bits(permute_on_device(x_TD, row_of_choice_TK, 4, 0, kMaxBlocks),
                          at::tensor({1, 0x5a, 1, 2}, at::kByte).unsqueeze(1)));
  });
}

TEST(CudaPermuteTokens, RowPastTheEndIsReportedInAnyChoice) {
  const auto x_TD = at::tensor({7}, at::kByte).unsqueeze(1);
  for (int64_t k = 0; k < 5; ++k) {
    const auto row_of_choice_TK = at::arange(5, at::kLong).unsqueeze(0).clone();
    row_of_choice_TK[0][k] = 5;
    const auto expected_RD = at::full({5, 1}, 7, at::kByte);
    expected_RD[k] = 0x5a;
    for_each_order([&] {
      EXPECT_TRUE(same_bits(permute_on_device(x_TD, row_of_choice_TK, 5, 0, kMaxBlocks,
                                              /*expected_foreign_row=*/1),
                            expected_RD));
    });
  }
}

TEST(CudaPermuteTokens, RowPastTheEndIsReportedAndNotTouched) {
  const auto x_TD = at::tensor({1, 2}, at::kByte).unsqueeze(1);
  for (const int64_t past_end : {2, 1000000}) {
    const auto row_of_choice_TK =
        at::tensor({int64_t{1}, past_end, int64_t{0}, past_end}).view({2, 2});
    for_each_order([&] {
      EXPECT_TRUE(same_bits(permute_on_device(x_TD, row_of_choice_TK, 2, 0, kMaxBlocks,
                                              /*expected_foreign_row=*/1),
                            at::tensor({2, 1}, at::kByte).unsqueeze(1)));
    });
  }
}

}  // namespace
}  // namespace moesaic::kernels::cuda
