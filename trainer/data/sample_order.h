// Which sample comes when: a shuffle without state.
//
// The order of an epoch is a bijection of [0, n) computed from (seed, epoch, index) alone, so there
// is nothing to build, to save or to agree on, and every layout sees the same global batches.
// Source: cycle walking over a balanced Feistel network, J. Black and P. Rogaway, "Ciphers with
// Arbitrary Finite Domains", CT-RSA 2002, section 4 and 5.
#pragma once

#include <cstdint>

namespace moesaic::trainer {

class SampleOrder {
 public:
  /// size: samples an epoch, 1 to 2^62. Throws std::invalid_argument.
  SampleOrder(uint64_t seed, int64_t size);

  /// The sample at `index` in [0, size) of `epoch` >= 0. For one epoch a bijection of [0, size).
  /// Costs at most four walks of eight rounds in the mean, some 100 ns.
  int64_t sample(int64_t epoch, int64_t index) const;

  /// The sample at a position of the endless stream of epochs: epoch = position / size.
  int64_t sample_at(int64_t position) const { return sample(position / size_, position % size_); }

  int64_t size() const { return size_; }

 private:
  uint64_t seed_;
  int64_t size_;
  int half_bits_;  // the network permutes [0, 4^half_bits), the smallest such range >= size
};

}  // namespace moesaic::trainer
