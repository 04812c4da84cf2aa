#include "moe/stateless_random.h"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>

#include <cmath>
#include <numbers>

namespace moesaic::moe {
namespace {

// The finaliser of SplitMix64 (Steele, Lea, Flood 2014).
uint64_t mix(uint64_t z) {
  z += 0x9E3779B97F4A7C15ULL;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
  return z ^ (z >> 31);
}

// FNV-1a: text into a key.
uint64_t hash_text(std::string_view text) {
  uint64_t hash = 0xCBF29CE484222325ULL;
  for (const char c : text) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3ULL;
  }
  return hash;
}

// Box-Muller; attempt a of element i uses draws of its own, so elements stay independent of
// another.
double truncated_normal(uint64_t key, uint64_t index) {
  constexpr double kCut = 3.0;
  for (uint64_t attempt = 0;; ++attempt) {
    const uint64_t attempt_key = mix(key ^ (attempt << 1));
    const double radius = std::sqrt(-2.0 * std::log(random_uniform(attempt_key, 2 * index)));
    const double angle = 2.0 * std::numbers::pi * random_uniform(attempt_key, 2 * index + 1);
    const double value = radius * std::cos(angle);
    if (std::abs(value) <= kCut) {
      return value;
    }
  }
}

}  // namespace

uint64_t stream_key(uint64_t seed, std::string_view purpose, std::string_view name, uint64_t step) {
  return mix(mix(mix(seed) ^ hash_text(purpose)) ^ hash_text(name)) ^ mix(step);
}

uint64_t random_bits(uint64_t key, uint64_t index) {
  return mix(mix(key ^ mix(index)));
}

double random_uniform(uint64_t key, uint64_t index) {
  // 53 bits, moved off zero by half a step.
  return (static_cast<double>(random_bits(key, index) >> 11) + 0.5) * 0x1.0p-53;
}

void fill_truncated_normal(const at::Tensor& tensor, double standard_deviation, uint64_t key) {
  TORCH_CHECK(tensor.is_contiguous(), "fill_truncated_normal: the tensor must be contiguous");
  const auto on_host = tensor.to(at::kCPU);  // the tensor itself if it lives there
  AT_DISPATCH_FLOATING_TYPES(tensor.scalar_type(), "fill_truncated_normal", [&] {
    auto* values = on_host.mutable_data_ptr<scalar_t>();
    at::parallel_for(0, tensor.numel(), 4096, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        values[i] = static_cast<scalar_t>(standard_deviation *
                                          truncated_normal(key, static_cast<uint64_t>(i)));
      }
    });
  });
  if (!on_host.is_same(tensor)) {
    tensor.copy_(on_host);
  }
}

}  // namespace moesaic::moe
