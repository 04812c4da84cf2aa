// Rows into expert order on the CPU: threads take rows, each row is copied once.
//
// Shape letters: kernels/ops.h.
#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <torch/library.h>

#include <algorithm>
#include <cstring>

namespace moesaic::kernels::cpu {
namespace {

constexpr int64_t kBytesPerTask = int64_t{128} << 10;

at::Tensor permute_tokens_cpu(const at::Tensor& x_TD, const at::Tensor& source_R,
                              const at::Tensor& row_of_choice_TK) {
  const auto x = x_TD.contiguous();
  const auto source_contiguous = source_R.contiguous();
  const int64_t num_choices = row_of_choice_TK.numel();
  const int64_t top_k = row_of_choice_TK.size(1);
  const int64_t num_rows = source_R.size(0);
  const auto rows_RD = at::empty({num_rows, x.size(1)}, x.options());
  const int64_t row_bytes = x.size(1) * static_cast<int64_t>(x.element_size());
  const int64_t rows_per_task = kBytesPerTask / std::max<int64_t>(row_bytes, 1) + 1;
  const auto* from = static_cast<const char*>(x.const_data_ptr());
  auto* to = static_cast<char*>(rows_RD.mutable_data_ptr());
  const auto* source = source_contiguous.const_data_ptr<int64_t>();
  at::parallel_for(0, num_rows, rows_per_task, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      TORCH_CHECK_INDEX(source[r] >= 0 && source[r] < num_choices, "permute_tokens: source_R[", r,
                        "] is ", source[r], " of ", num_choices, " choices");
      std::memcpy(to + r * row_bytes, from + source[r] / top_k * row_bytes,
                  static_cast<size_t>(row_bytes));
    }
  });
  return rows_RD;
}

}  // namespace
}  // namespace moesaic::kernels::cpu

TORCH_LIBRARY_IMPL(moesaic, CPU, m) {
  m.impl("permute_tokens", &moesaic::kernels::cpu::permute_tokens_cpu);
}
