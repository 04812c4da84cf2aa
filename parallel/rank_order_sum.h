// The arithmetic of our reductions, in one place, so that every back-end gives the same bits.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>
#include <vector>

namespace moesaic::parallel {

enum class Reduction { sum, max };

/// Whether reduce_in_rank_order knows the type: integers, Half, BFloat16, Float, Double.
bool is_reducible(c10::ScalarType dtype);

/// destination[i] = sources[0][i] (+) sources[1][i] (+) ... in this order, in max(float32, dtype),
/// rounded once at the end. NaN wins a maximum. destination may be one of the sources.
void reduce_in_rank_order(Reduction reduction, c10::ScalarType dtype, void* destination,
                          const std::vector<const void*>& sources, int64_t num_elements);

}  // namespace moesaic::parallel
