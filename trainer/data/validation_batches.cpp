#include "trainer/data/validation_batches.h"

#include <stdexcept>
#include <string>
#include <utility>

#include "trainer/data/window_batch.h"

namespace moesaic::trainer {

ValidationBatches::ValidationBatches(std::shared_ptr<const TokenWindows> windows,
                                     int64_t micro_batch_size, int64_t data_rank, int64_t data_size)
    : windows_(std::move(windows)),
      micro_batch_size_(micro_batch_size),
      data_rank_(data_rank),
      data_size_(data_size) {
  if (micro_batch_size < 1 || data_size < 1 || data_rank < 0 || data_rank >= data_size) {
    throw std::invalid_argument("ValidationBatches: micro_batch_size " +
                                std::to_string(micro_batch_size) + ", data rank " +
                                std::to_string(data_rank) + " of " + std::to_string(data_size));
  }
  const int64_t windows_a_pass = micro_batch_size * data_size;
  num_passes_ = (windows_->size() + windows_a_pass - 1) / windows_a_pass;
}

moe::MicroBatch ValidationBatches::batch(int64_t pass) const {
  if (pass < 0 || pass >= num_passes_) {
    throw std::out_of_range("ValidationBatches: pass " + std::to_string(pass) + " of " +
                            std::to_string(num_passes_));
  }
  auto batch = make_micro_batch(*windows_, micro_batch_size_);
  batch.first_sequence = (pass * data_size_ + data_rank_) * micro_batch_size_;
  for (int64_t row = 0; row < micro_batch_size_; ++row) {
    const int64_t window = batch.first_sequence + row;
    if (window < windows_->size()) {
      read_row(*windows_, window, batch, row);
    } else {
      ignore_row(batch, row);
    }
  }
  return batch;
}

}  // namespace moesaic::trainer
