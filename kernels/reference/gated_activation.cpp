#include "kernels/reference/gated_activation.h"

#include <ATen/OpMathType.h>
#include <ATen/TensorOperators.h>

namespace moesaic::kernels::reference {

at::Tensor gated_activation(const at::Tensor& gate_up_R2F) {
  const auto dtype = gate_up_R2F.scalar_type();
  const auto gate_up = gate_up_R2F.to(at::toOpMathType(dtype)).chunk(2, -1);
  return (at::silu(gate_up[0]) * gate_up[1]).to(dtype);
}

}  // namespace moesaic::kernels::reference
