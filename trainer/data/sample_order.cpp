#include "trainer/data/sample_order.h"

#include <algorithm>
#include <bit>
#include <stdexcept>
#include <string>

#include "moe/stateless_random.h"

namespace moesaic::trainer {

namespace {

constexpr uint64_t kRounds = 8;

}  // namespace

SampleOrder::SampleOrder(uint64_t seed, int64_t size) : seed_(seed), size_(size) {
  if (size < 1 || size > (int64_t{1} << 62)) {
    throw std::invalid_argument("SampleOrder: size must be 1 to 2^62, got " + std::to_string(size));
  }
  const int bits = std::bit_width(static_cast<uint64_t>(size - 1));
  half_bits_ = std::max(1, (bits + 1) / 2);
}

int64_t SampleOrder::sample(int64_t epoch, int64_t index) const {
  const uint64_t mask = (uint64_t{1} << half_bits_) - 1;
  const uint64_t key = moe::stream_key(seed_, "sample order", "", static_cast<uint64_t>(epoch));
  uint64_t value = static_cast<uint64_t>(index);
  // A permutation of the larger range, walked until it is back inside, permutes the inside.
  do {
    uint64_t left = value >> half_bits_;
    uint64_t right = value & mask;
    for (uint64_t round = 0; round < kRounds; ++round) {
      // A half has at most 31 bits, so that (round, right) numbers the draws of the stream.
      const uint64_t next = left ^ (moe::random_bits(key, (round << 32) | right) & mask);
      left = right;
      right = next;
    }
    value = (left << half_bits_) | right;
  } while (value >= static_cast<uint64_t>(size_));
  return static_cast<int64_t>(value);
}

}  // namespace moesaic::trainer
