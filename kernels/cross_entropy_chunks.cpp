#include "kernels/cross_entropy_chunks.h"

#include <ATen/Functions.h>
#include <ATen/OpMathType.h>

#include <algorithm>

namespace moesaic::kernels {
namespace {

/// The results, chunk by chunk.
class Gradients {
 public:
  // The head's gradient is summed over the chunks, so in the type of the sum.
  Gradients(const at::Tensor& x_TD, const at::Tensor& weight_VD, bool x_wanted, bool weight_wanted)
      : sum_dtype_(at::toOpMathType(x_TD.scalar_type())),
        x_TD_(x_wanted ? at::zeros_like(x_TD) : at::Tensor()),
        weight_VD_(weight_wanted
                       ? at::zeros(weight_VD.sizes(), weight_VD.options().dtype(sum_dtype_))
                       : at::Tensor()) {}

  bool wanted() const { return x_TD_.defined() || weight_VD_.defined(); }

  void add(int64_t begin, const at::Tensor& grad_logits_tV, const at::Tensor& x_tD,
           const at::Tensor& weight_VD) {
    if (x_TD_.defined()) {
      auto grad_x_tD = x_TD_.narrow(0, begin, x_tD.size(0));
      at::mm_out(grad_x_tD, grad_logits_tV, weight_VD);
    }
    if (weight_VD_.defined() && x_tD.scalar_type() == sum_dtype_) {
      weight_VD_.addmm_(grad_logits_tV.t(), x_tD);
    } else if (weight_VD_.defined()) {
      weight_VD_.add_(grad_logits_tV.t().mm(x_tD));
    }
  }

  const at::Tensor& x_TD() const { return x_TD_; }
  at::Tensor weight_VD(at::ScalarType dtype) const {
    return weight_VD_.defined() ? weight_VD_.to(dtype) : at::Tensor();
  }

 private:
  at::ScalarType sum_dtype_;
  at::Tensor x_TD_;
  at::Tensor weight_VD_;
};

}  // namespace

std::tuple<at::Tensor, at::Tensor, at::Tensor> cross_entropy_in_chunks(
    const at::Tensor& x_TD, const at::Tensor& weight_VD, const at::Tensor& targets_T, bool x_wanted,
    bool weight_wanted, const CrossEntropyChunks& chunks) {
  const int64_t num_tokens = x_TD.size(0);
  const int64_t vocabulary = weight_VD.size(0);
  const auto dtype = x_TD.scalar_type();
  const auto logits_dtype = at::toOpMathType(dtype);
  Gradients gradients(x_TD, weight_VD, x_wanted, weight_wanted);
  const int64_t row_bytes =
      std::max<int64_t>(vocabulary * static_cast<int64_t>(at::elementSize(logits_dtype)), 1);
  const int64_t tokens_per_chunk =
      std::min(num_tokens, std::max(chunks.logits_bytes / row_bytes, chunks.min_tokens));
  const auto buffer_tV =
      at::empty({tokens_per_chunk, vocabulary}, x_TD.options().dtype(logits_dtype));
  const auto loss = at::zeros({}, x_TD.options().dtype(at::kDouble));
  for (int64_t begin = 0; begin < num_tokens; begin += tokens_per_chunk) {
    const int64_t size = std::min(tokens_per_chunk, num_tokens - begin);
    const auto targets_t = targets_T.narrow(0, begin, size);
    if (chunks.has_counted_target != nullptr && !chunks.has_counted_target(targets_t)) {
      continue;
    }
    const auto x_tD = x_TD.narrow(0, begin, size);
    auto logits_tV = buffer_tV.narrow(0, 0, size);
    if (dtype == logits_dtype) {
      at::mm_out(logits_tV, x_tD, weight_VD.t());
    } else {
      logits_tV.copy_(x_tD.mm(weight_VD.t()));
    }
    loss.add_(chunks.chunk_loss(logits_tV, targets_t, gradients.wanted()));
    if (gradients.wanted()) {
      gradients.add(begin, logits_tV.to(dtype), x_tD, weight_VD);
    }
  }
  return {loss.to(logits_dtype), gradients.x_TD(), gradients.weight_VD(dtype)};
}

}  // namespace moesaic::kernels
