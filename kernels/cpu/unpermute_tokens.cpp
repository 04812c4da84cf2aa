// Weighted sum back in token order on the CPU: threads take tokens, so every output has one writer
// and every sum one order (k ascending), whatever the number of threads.
//
// Shape letters: kernels/ops.h.
#include <ATen/Dispatch.h>
#include <ATen/Functions.h>
#include <ATen/OpMathType.h>
#include <ATen/Parallel.h>
#include <torch/library.h>

#include <algorithm>
#include <vector>

namespace moesaic::kernels::cpu {
namespace {

int64_t tokens_per_task(int64_t top_k, int64_t width) {
  constexpr int64_t kElementsPerTask = 32768;
  return kElementsPerTask / std::max<int64_t>(top_k * width, 1) + 1;
}

void check_row(int64_t row, int64_t num_rows) {
  TORCH_CHECK_INDEX(row < num_rows, "unpermute_tokens: row_of_choice_TK names row ", row, " of ",
                    num_rows);
}

// sum += weight * row
template <class Value, class Sum>
void add_weighted(const Value* row, Sum weight, int64_t width, Sum* sum) {
#pragma omp simd
  for (int64_t d = 0; d < width; ++d) {
    sum[d] += weight * static_cast<Sum>(row[d]);
  }
}

at::Tensor unpermute_tokens_cpu(const at::Tensor& rows_RD,
                                const std::optional<at::Tensor>& weights_TK,
                                const at::Tensor& row_of_choice_TK) {
  const auto rows_contiguous = rows_RD.contiguous();
  const auto row_of_choice_contiguous = row_of_choice_TK.contiguous();
  const auto weights_contiguous = weights_TK.has_value() ? weights_TK->contiguous() : at::Tensor();
  const int64_t num_tokens = row_of_choice_TK.size(0);
  const int64_t top_k = row_of_choice_TK.size(1);
  const int64_t num_rows = rows_RD.size(0);
  const int64_t width = rows_RD.size(1);
  const auto out_TD = at::empty({num_tokens, width}, rows_contiguous.options());
  AT_DISPATCH_FLOATING_TYPES_AND2(
      at::kBFloat16, at::kHalf, rows_RD.scalar_type(), "unpermute_tokens_cpu", [&] {
        using Sum = at::opmath_type<scalar_t>;
        const auto* rows = rows_contiguous.const_data_ptr<scalar_t>();
        const auto* row_of_choice = row_of_choice_contiguous.const_data_ptr<int64_t>();
        const auto* weights =
            weights_contiguous.defined() ? weights_contiguous.const_data_ptr<Sum>() : nullptr;
        auto* out = out_TD.mutable_data_ptr<scalar_t>();
        const auto sum_tokens = [&](int64_t begin, int64_t end) {
          std::vector<Sum> sum_D(static_cast<size_t>(width));
          for (int64_t t = begin; t < end; ++t) {
            std::ranges::fill(sum_D, Sum(0));
            for (int64_t choice = t * top_k; choice < (t + 1) * top_k; ++choice) {
              const int64_t row = row_of_choice[choice];
              check_row(row, num_rows);
              if (row >= 0) {
                add_weighted(rows + row * width, weights ? weights[choice] : Sum(1), width,
                             sum_D.data());
              }
            }
            std::ranges::copy(sum_D, out + t * width);
          }
        };
        at::parallel_for(0, num_tokens, tokens_per_task(top_k, width), sum_tokens);
      });
  return out_TD;
}

// One visit of a choice: d rows[row] = weight * d out, d weight = <rows[row], d out>.
template <class Value, class Sum>
Sum choice_backward(const Value* grad_out, const Value* row, Sum weight, int64_t width,
                    Value* grad_row) {
  Sum gate = 0;
  if (row) {
#pragma omp simd reduction(+ : gate)
    for (int64_t d = 0; d < width; ++d) {
      gate += static_cast<Sum>(row[d]) * static_cast<Sum>(grad_out[d]);
    }
  }
  if (grad_row) {
#pragma omp simd
    for (int64_t d = 0; d < width; ++d) {
      grad_row[d] = static_cast<Value>(weight * static_cast<Sum>(grad_out[d]));
    }
  }
  return gate;
}

std::tuple<at::Tensor, at::Tensor> unpermute_tokens_backward_cpu(
    const at::Tensor& grad_out_TD, const at::Tensor& rows_RD, const at::Tensor& weights_TK,
    const at::Tensor& row_of_choice_TK, bool rows_wanted, bool weights_wanted) {
  const auto grad_out_contiguous = grad_out_TD.contiguous();
  const auto rows_contiguous = weights_wanted ? rows_RD.contiguous() : at::Tensor();
  const auto weights_contiguous = weights_TK.contiguous();
  const auto row_of_choice_contiguous = row_of_choice_TK.contiguous();
  const int64_t num_rows = rows_RD.size(0);
  const int64_t width = rows_RD.size(1);
  const int64_t top_k = row_of_choice_TK.size(1);
  at::Tensor grad_rows_RD;
  at::Tensor grad_weights_TK;
  if (rows_wanted) {
    grad_rows_RD = at::empty({num_rows, width}, rows_RD.options());
  }
  if (weights_wanted) {
    grad_weights_TK = at::zeros(weights_TK.sizes(), weights_TK.options());
  }
  AT_DISPATCH_FLOATING_TYPES_AND2(
      at::kBFloat16, at::kHalf, rows_RD.scalar_type(), "unpermute_tokens_backward_cpu", [&] {
        using Sum = at::opmath_type<scalar_t>;
        const auto* grad_out = grad_out_contiguous.const_data_ptr<scalar_t>();
        const auto* rows = weights_wanted ? rows_contiguous.const_data_ptr<scalar_t>() : nullptr;
        const auto* weights = weights_contiguous.const_data_ptr<Sum>();
        const auto* row_of_choice = row_of_choice_contiguous.const_data_ptr<int64_t>();
        auto* grad_rows = rows_wanted ? grad_rows_RD.mutable_data_ptr<scalar_t>() : nullptr;
        auto* grad_weights = weights_wanted ? grad_weights_TK.mutable_data_ptr<Sum>() : nullptr;
        const auto visit_tokens = [&](int64_t begin, int64_t end) {
          for (int64_t choice = begin * top_k; choice < end * top_k; ++choice) {
            const int64_t row = row_of_choice[choice];
            check_row(row, num_rows);
            if (row < 0) {
              continue;
            }
            const Sum gate = choice_backward<scalar_t, Sum>(
                grad_out + choice / top_k * width, rows ? rows + row * width : nullptr,
                weights[choice], width, grad_rows ? grad_rows + row * width : nullptr);
            if (grad_weights) {
              grad_weights[choice] = gate;
            }
          }
        };
        at::parallel_for(0, row_of_choice_TK.size(0), tokens_per_task(top_k, width), visit_tokens);
      });
  return {grad_rows_RD, grad_weights_TK};
}

}  // namespace
}  // namespace moesaic::kernels::cpu

TORCH_LIBRARY_IMPL(moesaic, CPU, m) {
  m.impl("unpermute_tokens", &moesaic::kernels::cpu::unpermute_tokens_cpu);
  m.impl("unpermute_tokens_backward", &moesaic::kernels::cpu::unpermute_tokens_backward_cpu);
}
