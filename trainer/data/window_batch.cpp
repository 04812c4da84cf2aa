// Plain loops, no ATen arithmetic: this also runs in the prefetch thread.
#include "trainer/data/window_batch.h"

#include <ATen/Functions.h>

#include <algorithm>
#include <vector>

namespace moesaic::trainer {

namespace {

int64_t* row_of(at::Tensor& tokens_BS, int64_t row) {
  return tokens_BS.mutable_data_ptr<int64_t>() + row * tokens_BS.size(1);
}

}  // namespace

moe::MicroBatch make_micro_batch(const TokenWindows& windows, int64_t batch_size) {
  const auto shape = {batch_size, windows.sequence_length()};
  return {at::empty(shape, at::kLong), at::empty(shape, at::kLong), /*first_sequence=*/0};
}

void read_row(const TokenWindows& windows, int64_t window, moe::MicroBatch& batch, int64_t row) {
  std::vector<int64_t> tokens(static_cast<size_t>(windows.sequence_length()) + 1);
  windows.read(window, tokens);
  std::copy(tokens.begin(), tokens.end() - 1, row_of(batch.input_ids_BS, row));
  std::copy(tokens.begin() + 1, tokens.end(), row_of(batch.targets_BS, row));
}

void ignore_row(moe::MicroBatch& batch, int64_t row) {
  std::fill_n(row_of(batch.input_ids_BS, row), batch.input_ids_BS.size(1), 0);
  std::fill_n(row_of(batch.targets_BS, row), batch.targets_BS.size(1), moe::kIgnoredTarget);
}

}  // namespace moesaic::trainer
