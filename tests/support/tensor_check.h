// Comparison of tensors that says where and by how much they differ. Use in EXPECT_TRUE(...).
#pragma once

#include <ATen/Functions.h>
#include <ATen/core/Tensor.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <sstream>

namespace moesaic::tests {

/// "[2, 0, 5]" for a position in the row-major order of `sizes`.
inline std::string index_text(int64_t position, at::IntArrayRef sizes) {
  std::string text = "]";
  for (auto dim = static_cast<int64_t>(sizes.size()) - 1; dim >= 0; --dim) {
    const int64_t size = sizes[static_cast<size_t>(dim)];
    text = (dim > 0 ? ", " : "[") + std::to_string(position % size) + text;
    position /= size;
  }
  return text.size() == 1 ? "[]" : text;
}

inline testing::AssertionResult same_kind(const at::Tensor& actual, const at::Tensor& expected) {
  if (!actual.defined() || !expected.defined()) {
    return testing::AssertionFailure() << "undefined tensor";
  }
  if (actual.sizes() != expected.sizes() || actual.scalar_type() != expected.scalar_type()) {
    return testing::AssertionFailure()
           << "got " << actual.sizes() << " " << actual.scalar_type() << ", expected "
           << expected.sizes() << " " << expected.scalar_type();
  }
  return testing::AssertionSuccess();
}

/// Same shape, dtype and values, element for element; NaN equals NaN.
inline testing::AssertionResult all_equal(const at::Tensor& actual, const at::Tensor& expected) {
  if (auto kind = same_kind(actual, expected); !kind) {
    return kind;
  }
  const auto differs =
      (actual.ne(expected).logical_and(actual.eq(actual).logical_or(expected.eq(expected))))
          .flatten();
  const auto count = differs.sum().item<int64_t>();
  if (count == 0) {
    return testing::AssertionSuccess();
  }
  const auto first = differs.to(at::kInt).argmax().item<int64_t>();
  return testing::AssertionFailure()
         << count << " of " << actual.numel() << " differ, the first at "
         << index_text(first, actual.sizes()) << ": got " << actual.flatten()[first].item<double>()
         << ", expected " << expected.flatten()[first].item<double>();
}

/// Same shape and dtype, and |actual - expected| <= atol + rtol * |expected| everywhere.
inline testing::AssertionResult all_close(const at::Tensor& actual, const at::Tensor& expected,
                                          double rtol, double atol) {
  if (auto kind = same_kind(actual, expected); !kind) {
    return kind;
  }
  if (actual.numel() == 0 || at::allclose(actual, expected, rtol, atol)) {
    return testing::AssertionSuccess();
  }
  const auto a = actual.detach().to(at::kDouble).flatten();
  const auto b = expected.detach().to(at::kDouble).flatten();
  const auto error = a.sub(b).abs().nan_to_num(/*nan=*/HUGE_VAL);
  const auto worst = error.argmax().item<int64_t>();
  const auto relative = error.div(b.abs().clamp_min(1e-300));
  const auto worst_relative = relative.argmax().item<int64_t>();
  std::ostringstream text;
  text.precision(10);
  text << "largest absolute error " << error[worst].item<double>() << " at "
       << index_text(worst, actual.sizes()) << ": got " << a[worst].item<double>() << ", expected "
       << b[worst].item<double>() << "; largest relative error "
       << relative[worst_relative].item<double>() << " at "
       << index_text(worst_relative, actual.sizes()) << " (rtol " << rtol << ", atol " << atol
       << ")";
  return testing::AssertionFailure() << text.str();
}

}  // namespace moesaic::tests
