// Autograd of sort_chunks: the gradient takes the way back, which is a sort by the same counts.
#include <ATen/core/LegacyTypeDispatch.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include "kernels/autograd/double_backward.h"
#include "kernels/dispatched.h"

namespace moesaic::kernels {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct SortChunks : torch::autograd::Function<SortChunks> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& rows_RD,
                            const at::Tensor& counts_AB) {
    at::AutoDispatchBelowADInplaceOrView guard;
    ctx->save_for_backward({counts_AB});
    return dispatched::sort_chunks(rows_RD, counts_AB);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    refuse_double_backward("sort_chunks");
    at::AutoDispatchBelowADInplaceOrView guard;
    return {dispatched::sort_chunks(grads[0], ctx->get_saved_variables()[0].t()), {}};
  }
};

at::Tensor sort_chunks_autograd(const at::Tensor& rows_RD, const at::Tensor& counts_AB) {
  return SortChunks::apply(rows_RD, counts_AB);
}

}  // namespace
}  // namespace moesaic::kernels

TORCH_LIBRARY_IMPL(moesaic, Autograd, m) {
  m.impl("sort_chunks", &moesaic::kernels::sort_chunks_autograd);
}
