// Randomness without state: every draw is a function of (seed, purpose, index), so that layouts
// agree and nothing has to be saved.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string_view>

namespace moesaic::moe {

/// A key for one stream of draws, e.g. stream_key(seed, "init", "model.layers.0.mlp.gate.weight",
/// 0).
uint64_t stream_key(uint64_t seed, std::string_view purpose, std::string_view name,
                    uint64_t step = 0);

/// Draw `index` of a stream: 64 uniform bits (SplitMix64's finaliser over key and index, twice).
uint64_t random_bits(uint64_t key, uint64_t index);

/// Draw `index` of a stream as a float64 in (0, 1), never 0 or 1.
double random_uniform(uint64_t key, uint64_t index);

/// Fills a contiguous float32/float64 tensor with normal draws of the given standard deviation, cut
/// at 3 standard deviations (draws outside are drawn anew): OLMoE's initialisation. Element i is
/// draw (key, i), whatever part of a larger tensor the rest may be.
void fill_truncated_normal(const at::Tensor& tensor, double standard_deviation, uint64_t key);

}  // namespace moesaic::moe
