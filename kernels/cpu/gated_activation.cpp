// SwiGLU on the CPU, forward and backward each in one pass over the rows.
//
// Shape letters: kernels/ops.h.
#include <ATen/Dispatch.h>
#include <ATen/Functions.h>
#include <ATen/OpMathType.h>
#include <ATen/Parallel.h>
#include <torch/library.h>

#include <algorithm>

#include "kernels/cpu/exponential.h"

namespace moesaic::kernels::cpu {
namespace {

int64_t rows_per_task(int64_t width) {
  constexpr int64_t kElementsPerTask = 8192;
  return kElementsPerTask / std::max<int64_t>(width, 1) + 1;
}

// h = g s(g) u, s the logistic function.
template <class Value>
void forward_row(const Value* gate, const Value* up, int64_t width, Value* out) {
  using Real = at::opmath_type<Value>;
#pragma omp simd
  for (int64_t f = 0; f < width; ++f) {
    const Real g = static_cast<Real>(gate[f]);
    const Real silu = g / (Real(1) + exponential(-g));
    out[f] = static_cast<Value>(silu * static_cast<Real>(up[f]));
  }
}

// dh/dg = u s (1 + g (1 - s)), dh/du = g s.
template <class Value>
void backward_row(const Value* grad_out, const Value* gate, const Value* up, int64_t width,
                  Value* grad_gate, Value* grad_up) {
  using Real = at::opmath_type<Value>;
#pragma omp simd
  for (int64_t f = 0; f < width; ++f) {
    const Real grad = static_cast<Real>(grad_out[f]);
    const Real g = static_cast<Real>(gate[f]);
    const Real sigmoid = Real(1) / (Real(1) + exponential(-g));
    grad_gate[f] = static_cast<Value>(grad * static_cast<Real>(up[f]) * sigmoid *
                                      (Real(1) + g * (Real(1) - sigmoid)));
    grad_up[f] = static_cast<Value>(grad * g * sigmoid);
  }
}

at::Tensor gated_activation_cpu(const at::Tensor& gate_up_R2F) {
  const auto gate_up_contiguous = gate_up_R2F.contiguous();
  const int64_t num_rows = gate_up_R2F.size(0);
  const int64_t width = gate_up_R2F.size(1) / 2;
  const auto out_RF = at::empty({num_rows, width}, gate_up_contiguous.options());
  AT_DISPATCH_FLOATING_TYPES_AND2(
      at::kBFloat16, at::kHalf, gate_up_R2F.scalar_type(), "gated_activation_cpu", [&] {
        const auto* gate_up = gate_up_contiguous.const_data_ptr<scalar_t>();
        auto* out = out_RF.mutable_data_ptr<scalar_t>();
        at::parallel_for(0, num_rows, rows_per_task(width), [&](int64_t begin, int64_t end) {
          for (int64_t r = begin; r < end; ++r) {
            const scalar_t* gate = gate_up + r * 2 * width;
            forward_row(gate, gate + width, width, out + r * width);
          }
        });
      });
  return out_RF;
}

at::Tensor gated_activation_backward_cpu(const at::Tensor& grad_out_RF,
                                         const at::Tensor& gate_up_R2F) {
  const auto grad_out_contiguous = grad_out_RF.contiguous();
  const auto gate_up_contiguous = gate_up_R2F.contiguous();
  const int64_t num_rows = gate_up_R2F.size(0);
  const int64_t width = gate_up_R2F.size(1) / 2;
  const auto grad_gate_up_R2F = at::empty({num_rows, 2 * width}, gate_up_contiguous.options());
  AT_DISPATCH_FLOATING_TYPES_AND2(
      at::kBFloat16, at::kHalf, gate_up_R2F.scalar_type(), "gated_activation_backward_cpu", [&] {
        const auto* grad_out = grad_out_contiguous.const_data_ptr<scalar_t>();
        const auto* gate_up = gate_up_contiguous.const_data_ptr<scalar_t>();
        auto* grad_gate_up = grad_gate_up_R2F.mutable_data_ptr<scalar_t>();
        at::parallel_for(0, num_rows, rows_per_task(width), [&](int64_t begin, int64_t end) {
          for (int64_t r = begin; r < end; ++r) {
            const scalar_t* gate = gate_up + r * 2 * width;
            scalar_t* grad_gate = grad_gate_up + r * 2 * width;
            backward_row(grad_out + r * width, gate, gate + width, width, grad_gate,
                         grad_gate + width);
          }
        });
      });
  return grad_gate_up_R2F;
}

}  // namespace
}  // namespace moesaic::kernels::cpu

TORCH_LIBRARY_IMPL(moesaic, CPU, m) {
  m.impl("gated_activation", &moesaic::kernels::cpu::gated_activation_cpu);
  m.impl("gated_activation_backward", &moesaic::kernels::cpu::gated_activation_backward_cpu);
}
