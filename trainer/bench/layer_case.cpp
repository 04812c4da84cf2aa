// Shape letters: kernels/ops.h.
#include <ATen/Functions.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <memory>

#include "kernels/reference/gated_activation.h"
#include "kernels/reference/grouped_gemm.h"
#include "kernels/reference/permute_tokens.h"
#include "kernels/reference/plan_dispatch.h"
#include "kernels/reference/route_tokens.h"
#include "kernels/reference/unpermute_tokens.h"
#include "moe/moe_layer.h"
#include "trainer/bench/bench_case.h"
#include "trainer/bench/random_values.h"

namespace moesaic::trainer {
namespace {

namespace reference = kernels::reference;

/// A layer with its input and parameters; each has a gradient buffer, as in the parameter store.
class LayerBench {
 public:
  LayerBench(const BenchShape& shape, bool norm_topk_prob, at::Device device);

  void run();
  std::string mismatch();

 private:
  at::Tensor reference_layer() const;

  BenchShape shape_;
  kernels::RouteOptions route_;
  moe::MoeLayer layer_;
  std::vector<at::Tensor> parameters_;  // router_ED, gate_up_E2FD, down_EDF
  at::Tensor x_TD_;
  at::Tensor grad_out_TD_;
  at::Tensor out_TD_;
};

moe::MoeLayer make_layer(const BenchShape& shape, const kernels::RouteOptions& route) {
  moe::RouterOptions router;
  router.hidden_size = shape.hidden_size;
  router.num_experts = shape.num_experts;
  router.route = route;
  const moe::ExpertsOptions experts = {shape.hidden_size, shape.intermediate_size,
                                       /*first_expert=*/0, shape.num_experts};
  return {router, experts, std::make_shared<moe::TokenDispatcher>(/*fault=*/nullptr)};
}

LayerBench::LayerBench(const BenchShape& shape, bool norm_topk_prob, at::Device device)
    : shape_(shape),
      route_({.top_k = shape.top_k, .norm_topk_prob = norm_topk_prob}),
      layer_(make_layer(shape, route_)) {
  uint64_t seed = 0;
  for (const auto& parameter : layer_.declare("layer", "layer.")) {
    const auto& sizes = parameter.spec.shape;
    // Activations of order one, logits too: rows spread over the experts as random ones do.
    const double deviation = 1.0 / std::sqrt(static_cast<double>(sizes.back()));
    auto& tensor = *parameter.spec.tensor;
    tensor = random_values(sizes, ++seed, device, shape.dtype, deviation).set_requires_grad(true);
    tensor.mutable_grad() =
        at::zeros(sizes, tensor.options().dtype(accumulation_dtype(shape.dtype)));
    parameters_.push_back(tensor);
  }
  const std::vector<int64_t> sizes = {shape.tokens, shape.hidden_size};
  x_TD_ = random_values(sizes, ++seed, device, shape.dtype).set_requires_grad(true);
  grad_out_TD_ = random_values(sizes, ++seed, device, shape.dtype);
}

void LayerBench::run() {
  for (const auto& parameter : parameters_) {
    parameter.grad().zero_();
  }
  x_TD_.mutable_grad().reset();
  out_TD_ = layer_(x_TD_, {.num_sequences = 1, .sequence_length = shape_.tokens});
  out_TD_.backward(grad_out_TD_);
}

at::Tensor LayerBench::reference_layer() const {
  const auto dtype = accumulation_dtype(shape_.dtype);
  const auto logits_TE = at::linear(x_TD_.to(dtype), parameters_[0].to(dtype));
  const auto routed = reference::route_tokens(logits_TE, route_);
  const auto plan =
      reference::plan_dispatch(routed.expert_idx_TK, routed.weights_TK, shape_.num_experts,
                               shape_.tokens, std::nullopt, kernels::DropPolicy::kPosition);
  const auto num_rows_E = plan.num_rows_E.to(at::kCPU);
  const auto gate_up_R2F =
      reference::grouped_gemm(reference::permute_tokens(x_TD_, plan), parameters_[1], num_rows_E);
  const auto y_RD =
      reference::grouped_gemm(reference::gated_activation(gate_up_R2F), parameters_[2], num_rows_E);
  return reference::unpermute_tokens(y_RD, routed.weights_TK, plan);
}

std::string LayerBench::mismatch() {
  run();
  const auto expected_TD = reference_layer();
  const auto gradients = torch::autograd::grad(
      {expected_TD}, {x_TD_, parameters_[0], parameters_[1], parameters_[2]}, {grad_out_TD_});
  const double bound = rounding_bound(shape_.dtype);
  const char* kNames[] = {"gradient of the router", "gradient of gate_up_proj",
                          "gradient of down_proj"};
  std::vector<std::string> texts = {
      difference("output", out_TD_, expected_TD, bound),
      difference("gradient of the input", x_TD_.grad(), gradients[0], bound)};
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const auto& gradient = parameters_[i].grad();
    texts.push_back(
        difference(kNames[i], gradient, gradients[i + 1].to(gradient.scalar_type()), bound));
  }
  return all_differences(texts);
}

}  // namespace

BenchCase layer_case(const BenchShape& shape, bool norm_topk_prob, at::Device device) {
  const auto layer = std::make_shared<LayerBench>(shape, norm_topk_prob, device);
  BenchCase bench_case = {"layer forward+backward", Bound::kCompute, layer_work(shape),
                          static_cast<double>(shape.tokens)};
  bench_case.run = [=] { layer->run(); };
  bench_case.mismatch = [=] { return layer->mismatch(); };
  return bench_case;
}

}  // namespace moesaic::trainer
