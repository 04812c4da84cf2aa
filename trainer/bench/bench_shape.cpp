#include "trainer/bench/bench_shape.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "trainer/config/problems.h"
#include "trainer/config/scalar.h"
#include "trainer/exit_code.h"

namespace moesaic::trainer {
namespace {

using Names = std::vector<std::pair<std::string, c10::ScalarType>>;

const Names& dtype_names() {
  static const Names names = {{"float32", c10::ScalarType::Float},
                              {"float64", c10::ScalarType::Double},
                              {"bfloat16", c10::ScalarType::BFloat16}};
  return names;
}

}  // namespace

c10::ScalarType accumulation_dtype(c10::ScalarType dtype) {
  return dtype == c10::ScalarType::Double ? dtype : c10::ScalarType::Float;
}

c10::ScalarType dtype_of(const std::string& name) {
  std::vector<std::string> known;
  for (const auto& [text, dtype] : dtype_names()) {
    if (text == name) {
      return dtype;
    }
    known.push_back(text);
  }
  const auto nearest = nearest_name(name, known);
  throw ExitError(
      ExitCode::kUsage,
      fmt::format("--dtype must be one of {}, is '{}'{}", fmt::join(known, ", "), shorten(name),
                  nearest.empty() ? "" : "; did you mean '" + nearest + "'"));
}

std::string dtype_name(c10::ScalarType dtype) {
  for (const auto& [text, known] : dtype_names()) {
    if (known == dtype) {
      return text;
    }
  }
  return c10::toString(dtype);
}

void check_shape(const BenchShape& shape) {
  if (shape.top_k > shape.num_experts) {
    throw ExitError(ExitCode::kUsage, fmt::format("--top-k: {} is more than --experts, {}",
                                                  shape.top_k, shape.num_experts));
  }
  constexpr double kMaxElements = 1e11;
  const auto product = [](std::initializer_list<int64_t> sizes) {
    double elements = 1.0;
    for (const int64_t size : sizes) {
      elements *= static_cast<double>(size);
    }
    return elements;
  };
  const auto width = std::max(shape.hidden_size, 2 * shape.intermediate_size);
  const double largest = std::max(
      {product({shape.tokens, shape.top_k, width}), product({shape.tokens, shape.num_experts}),
       product({shape.num_experts, shape.hidden_size, 2 * shape.intermediate_size}),
       product({shape.tokens, shape.vocab_size}), product({shape.vocab_size, shape.hidden_size})});
  if (!(largest <= kMaxElements)) {
    throw ExitError(ExitCode::kUsage,
                    fmt::format("these sizes make a tensor of {:.3g} elements, at most {:.0g} are "
                                "measured",
                                largest, kMaxElements));
  }
}

}  // namespace moesaic::trainer
