#include "trainer/bench/bench_case.h"

#include <ATen/Functions.h>
#include <fmt/format.h>

namespace moesaic::trainer {

std::string difference(const std::string& what, const at::Tensor& actual,
                       const at::Tensor& expected, double bound) {
  if (!actual.defined() || actual.sizes() != expected.sizes() ||
      actual.scalar_type() != expected.scalar_type()) {
    return what + ": not the shape and type of the reference";
  }
  if (actual.numel() == 0) {
    return "";
  }
  const auto error = actual.detach().to(at::kDouble).sub(expected.detach().to(at::kDouble)).abs();
  const double worst = error.max().item<double>();  // NaN if any is
  const double scale = expected.detach().abs().max().item<double>();
  if (worst <= bound * scale) {
    return "";
  }
  const auto place = error.flatten().nan_to_num(HUGE_VAL).argmax().item<int64_t>();
  return fmt::format("{}: element {} is {}, expected {} (off by {:.3g} of {:.3g}, bound {:.3g})",
                     what, place, actual.detach().flatten()[place].item<double>(),
                     expected.detach().flatten()[place].item<double>(), worst, scale,
                     bound * scale);
}

std::string all_differences(const std::vector<std::string>& differences) {
  std::string text;
  for (const auto& one : differences) {
    text += (text.empty() || one.empty() ? "" : "; ") + one;
  }
  return text;
}

double rounding_bound(at::ScalarType dtype) {
  switch (dtype) {
    case at::kDouble:
      return 1e-11;
    case at::kFloat:
      return 2e-5;
    default:
      return 2e-2;  // bfloat16: five of its last bits
  }
}

}  // namespace moesaic::trainer
