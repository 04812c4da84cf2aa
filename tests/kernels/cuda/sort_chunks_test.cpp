#include "kernels/cuda/sort_chunks.h"

#include <gtest/gtest.h>

#include <utility>

#include "kernels/reference/sort_chunks.h"
#include "tests/kernels/cuda/device_buffer.h"
#include "tests/kernels/cuda/for_each_order.h"
#include "tests/support/random_tensor.h"

MOESAIC_KERNEL_TEST(chunk_table_kernel)
MOESAIC_KERNEL_TEST(sort_chunks_kernel)

namespace moesaic::kernels::cuda {
namespace {

using tests::for_each_order;
using tests::random_integers;
using tests::random_tensor;

// Rows that are not written stay 0x5a.
at::Tensor sort_on_device(const at::Tensor& rows_RD, const at::Tensor& counts_AB, int64_t offset,
                          int64_t max_blocks) {
  const int64_t row_bytes = rows_RD.size(1) * static_cast<int64_t>(rows_RD.element_size());
  const DeviceBuffer<uint8_t> rows(rows_RD, offset);
  const DeviceBuffer<int64_t> counts(counts_AB);
  const DeviceBuffer<uint8_t> sorted(at::full({rows_RD.size(0) * row_bytes}, 0x5a, at::kByte),
                                     offset);
  const DeviceBuffer<int64_t> table(chunk_table_size(counts_AB.size(0), counts_AB.size(1)));
  sort_chunks(rows.data(), counts.data(), counts_AB.size(0), counts_AB.size(1), rows_RD.size(0),
              row_bytes, sorted.data(), table.data(), /*stream=*/nullptr, max_blocks);
  return sorted.to_tensor(rows_RD.sizes(), rows_RD.scalar_type());
}

at::Tensor counts_of(std::initializer_list<int64_t> counts, int64_t num_outer) {
  return at::tensor(counts, at::kLong).view({num_outer, -1});
}

// Also empty ones at every end, one chunk, no row, no chunk, and more chunks than threads.
std::vector<at::Tensor> tables() {
  return {counts_of({3, 1, 2, 4, 0, 5}, 2),
          counts_of({0, 0, 7, 0}, 2),
          counts_of({0, 2, 0, 0, 0, 1, 0, 0}, 4),
          counts_of({1}, 1),
          counts_of({2, 3, 4}, 1),
          counts_of({2, 3, 4}, 3),
          counts_of({0, 0}, 2),
          at::zeros({0, 3}, at::kLong),
          random_integers(3, {13, 40}, 121),
          random_integers(2, {2, 128}, 122)};
}

TEST(CudaSortChunks, MovesTheBitsOfTheReference) {
  for (const auto& counts_AB : tables()) {
    // One for each unit.
    for (const auto& [width, dtype] : {std::pair<int64_t, at::ScalarType>{7, at::kByte},
                                       {7, at::kBFloat16},
                                       {7, at::kFloat},
                                       {7, at::kDouble},
                                       {8, at::kDouble},
                                       {0, at::kFloat}}) {
      const auto rows_RD =
          random_tensor({counts_AB.sum().item<int64_t>(), width}, 123).mul(100).to(dtype);
      const auto expected_RD = reference::sort_chunks(rows_RD, counts_AB);
      const int64_t max_blocks = dtype == at::kFloat ? 3 : kMaxBlocks;
      for_each_order([&] {
        EXPECT_TRUE(same_bits(sort_on_device(rows_RD, counts_AB, 0, max_blocks), expected_RD))
            << counts_AB.sizes() << " " << width << " " << dtype;
      });
    }
  }
}

TEST(CudaSortChunks, WideRowsAnyAddressAnyGrid) {
  const auto counts_AB = counts_of({2, 0, 1, 3}, 2);
  for (const int64_t width : {1301, 20016}) {  // more than a block moves in one turn
    const auto rows_RD = random_tensor({6, width}, 124).mul(100).to(at::kByte);
    const auto expected_RD = reference::sort_chunks(rows_RD, counts_AB);
    for_each_order([&] {
      for (const int64_t offset : {0, 2}) {
        for (const int64_t max_blocks : {1, 4}) {
          EXPECT_TRUE(
              same_bits(sort_on_device(rows_RD, counts_AB, offset, max_blocks), expected_RD))
              << width << " " << offset << " " << max_blocks;
        }
      }
    });
  }
}

TEST(CudaSortChunks, TransposedCountsUndoIt) {
  const auto counts_AB = random_integers(4, {5, 7}, 125);
  const auto rows_RD = random_tensor({counts_AB.sum().item<int64_t>(), 6}, 126, at::kFloat);
  for_each_order([&] {
    const auto sorted_RD = sort_on_device(rows_RD, counts_AB, 0, kMaxBlocks);
    EXPECT_TRUE(
        same_bits(sort_on_device(sorted_RD, counts_AB.t().contiguous(), 0, kMaxBlocks), rows_RD));
  });
}

TEST(CudaSortChunks, RowsPastTheCountsAreNotWritten) {
  const auto rows_R1 = at::tensor({1, 2, 3, 4, 5}, at::kByte).unsqueeze(1);
  for_each_order([&] {
    EXPECT_TRUE(same_bits(sort_on_device(rows_R1, counts_of({1, 1, 1, 0}, 2), 0, kMaxBlocks),
                          at::tensor({1, 3, 2, 0x5a, 0x5a}, at::kByte).unsqueeze(1)));
  });
}

}  // namespace
}  // namespace moesaic::kernels::cuda
