#include "trainer/data/data_loader.h"

#include <limits>
#include <stdexcept>
#include <string>
#include <utility>

#include "trainer/data/window_batch.h"
#include "trainer/exit_code.h"

namespace moesaic::trainer {

namespace {

// Micro-batches of each rank, after the checks that the layout needs.
int64_t micro_batches_a_rank(const DataLoaderOptions& options, int64_t data_rank,
                             int64_t data_size) {
  if (data_size < 1 || data_rank < 0 || data_rank >= data_size) {
    throw std::invalid_argument("DataLoader: data rank " + std::to_string(data_rank) + " of " +
                                std::to_string(data_size));
  }
  const int64_t global = options.global_batch_size;
  const int64_t micro = options.micro_batch_size;
  if (global < 1 || micro < 1 || global % micro != 0 || (global / micro) % data_size != 0) {
    throw ExitError(ExitCode::kConfiguration,
                    "data.global_batch_size must be data.micro_batch_size x data ranks x a whole "
                    "number, found " +
                        std::to_string(global) + " for " + std::to_string(micro) + " x " +
                        std::to_string(data_size));
  }
  return global / micro / data_size;
}

}  // namespace

DataLoader::DataLoader(std::shared_ptr<const TokenWindows> windows,
                       const DataLoaderOptions& options, int64_t data_rank, int64_t data_size)
    : windows_(std::move(windows)),
      options_(options),
      order_(options.seed, windows_->size()),
      num_micro_batches_(micro_batches_a_rank(options, data_rank, data_size)),
      first_micro_batch_(data_rank * num_micro_batches_),
      prefetcher_([this](int64_t step) { return load(step); }, options.prefetch_depth) {}

std::vector<moe::MicroBatch> DataLoader::load(int64_t step) const {
  const int64_t most_steps = std::numeric_limits<int64_t>::max() / options_.global_batch_size - 1;
  if (step < 0 || step > most_steps) {
    throw std::out_of_range("DataLoader: step " + std::to_string(step));
  }
  std::vector<moe::MicroBatch> batches;
  for (int64_t m = first_micro_batch_; m < first_micro_batch_ + num_micro_batches_; ++m) {
    batches.push_back(load_micro_batch(step, m));
  }
  return batches;
}

moe::MicroBatch DataLoader::load_micro_batch(int64_t step, int64_t micro_batch) const {
  auto batch = make_micro_batch(*windows_, options_.micro_batch_size);
  batch.first_sequence = micro_batch * options_.micro_batch_size;
  for (int64_t row = 0; row < options_.micro_batch_size; ++row) {
    const int64_t position = batch.first_sequence + row;
    const int64_t sample = order_.sample_at(step * options_.global_batch_size + position);
    read_row(*windows_, sample, batch, row);
  }
  return batch;
}

}  // namespace moesaic::trainer
