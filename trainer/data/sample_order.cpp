#include "trainer/data/sample_order.h"

#include <algorithm>
#include <bit>
#include <stdexcept>
#include <string>

namespace moesaic::trainer {

namespace {

constexpr int kRounds = 8;
constexpr uint64_t kGolden = 0x9E3779B97F4A7C15;  // 2^64 / golden ratio, odd

// The finaliser of SplitMix64: every bit of the result depends on every bit of the argument.
constexpr uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
  return x ^ (x >> 31);
}

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
  const uint64_t key = mix(mix(seed_ + kGolden) + static_cast<uint64_t>(epoch));
  uint64_t value = static_cast<uint64_t>(index);
  // A permutation of the larger range, walked until it is back inside, permutes the inside.
  do {
    uint64_t left = value >> half_bits_;
    uint64_t right = value & mask;
    for (int round = 1; round <= kRounds; ++round) {
      const uint64_t round_key = mix(key + static_cast<uint64_t>(round) * kGolden);
      const uint64_t next = left ^ (mix(round_key + right) & mask);
      left = right;
      right = next;
    }
    value = (left << half_bits_) | right;
  } while (value >= static_cast<uint64_t>(size_));
  return static_cast<int64_t>(value);
}

}  // namespace moesaic::trainer
