#include "parallel/rank_order_sum.h"

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

namespace moesaic::parallel {

namespace {

// A block of accumulators stays in the first-level cache while all ranks are added to it.
constexpr int64_t kBlock = 2048;

template <typename Accumulator>
Accumulator max_or_nan(Accumulator a, Accumulator b) {
  return (a > b || a != a) ? a : b;  // a != a: NaN; a NaN in b loses a > b and is returned
}

template <typename T, typename Accumulator>
void reduce(Reduction reduction, void* destination, const std::vector<const void*>& sources,
            int64_t num_elements) {
  Accumulator block[kBlock];
  for (int64_t begin = 0; begin < num_elements; begin += kBlock) {
    const int64_t count = std::min(kBlock, num_elements - begin);
    for (size_t rank = 0; rank < sources.size(); ++rank) {
      const T* source = static_cast<const T*>(sources[rank]) + begin;
      if (rank == 0) {
        for (int64_t i = 0; i < count; ++i) {
          block[i] = static_cast<Accumulator>(source[i]);
        }
      } else if (reduction == Reduction::sum) {
        for (int64_t i = 0; i < count; ++i) {
          block[i] += static_cast<Accumulator>(source[i]);
        }
      } else {
        for (int64_t i = 0; i < count; ++i) {
          block[i] = max_or_nan(block[i], static_cast<Accumulator>(source[i]));
        }
      }
    }
    T* target = static_cast<T*>(destination) + begin;
    for (int64_t i = 0; i < count; ++i) {
      target[i] = static_cast<T>(block[i]);
    }
  }
}

using Reduce = void (*)(Reduction, void*, const std::vector<const void*>&, int64_t);

Reduce find_reduce(c10::ScalarType dtype) {
  switch (dtype) {
    case c10::ScalarType::Byte:
      return &reduce<uint8_t, uint8_t>;
    case c10::ScalarType::Char:
      return &reduce<int8_t, int8_t>;
    case c10::ScalarType::Short:
      return &reduce<int16_t, int16_t>;
    case c10::ScalarType::Int:
      return &reduce<int32_t, int32_t>;
    case c10::ScalarType::Long:
      return &reduce<int64_t, int64_t>;
    case c10::ScalarType::Half:
      return &reduce<c10::Half, float>;
    case c10::ScalarType::BFloat16:
      return &reduce<c10::BFloat16, float>;
    case c10::ScalarType::Float:
      return &reduce<float, float>;
    case c10::ScalarType::Double:
      return &reduce<double, double>;
    default:
      return nullptr;
  }
}

}  // namespace

bool is_reducible(c10::ScalarType dtype) {
  return find_reduce(dtype) != nullptr;
}

void reduce_in_rank_order(Reduction reduction, c10::ScalarType dtype, void* destination,
                          const std::vector<const void*>& sources, int64_t num_elements) {
  const Reduce reduce_elements = find_reduce(dtype);
  TORCH_INTERNAL_ASSERT(reduce_elements != nullptr);
  reduce_elements(reduction, destination, sources, num_elements);
}

}  // namespace moesaic::parallel
