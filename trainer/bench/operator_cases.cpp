// Shape letters: kernels/ops.h; I and O: the widths of rows before and after a grouped product.
#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>

#include "kernels/ops.h"
#include "kernels/reference/gated_activation.h"
#include "kernels/reference/grouped_gemm.h"
#include "kernels/reference/linear_cross_entropy.h"
#include "kernels/reference/permute_tokens.h"
#include "kernels/reference/plan_dispatch.h"
#include "kernels/reference/route_tokens.h"
#include "kernels/reference/sort_chunks.h"
#include "kernels/reference/unpermute_tokens.h"
#include "trainer/bench/differentiable_cases.h"
#include "trainer/bench/random_values.h"

namespace moesaic::trainer {
namespace {

namespace reference = kernels::reference;

/// Makes the inputs of one shape; every draw has a seed of its own.
class Inputs {
 public:
  Inputs(const BenchShape& shape, at::Device device) : shape_(shape), device_(device) {}

  at::Tensor values(at::IntArrayRef sizes, double deviation = 1.0) {
    return random_values(sizes, ++seed_, device_, shape_.dtype, deviation);
  }
  at::Tensor accumulated(at::IntArrayRef sizes) {
    return random_values(sizes, ++seed_, device_, accumulation_dtype(shape_.dtype));
  }
  at::Tensor indices(at::IntArrayRef sizes, int64_t end) {
    return random_indices(sizes, ++seed_, device_, end);
  }

  const BenchShape& shape() const { return shape_; }
  double bound() const { return rounding_bound(shape_.dtype); }

 private:
  BenchShape shape_;
  at::Device device_;
  uint64_t seed_ = 0;
};

at::Tensor leaf(at::Tensor tensor) {
  return tensor.set_requires_grad(true);
}

void append(std::vector<BenchCase>& cases, const Differentiable& tested) {
  cases.push_back(forward_case(tested));
  cases.push_back(backward_case(tested));
}

void add_routing(Inputs& inputs, std::vector<BenchCase>& cases) {
  const auto& shape = inputs.shape();
  const auto logits_TE = leaf(inputs.accumulated({shape.tokens, shape.num_experts}));
  const kernels::RouteOptions options = {.top_k = shape.top_k};
  Differentiable tested = {"route_tokens", Bound::kMemory, route_tokens_work(shape), {logits_TE}};
  tested.grad_outputs = {inputs.accumulated({shape.tokens, shape.top_k}),
                         inputs.accumulated({shape.tokens, shape.num_experts}),
                         inputs.accumulated({shape.tokens})};
  tested.operation = [=]() -> Tensors {
    const auto routed = kernels::route_tokens(logits_TE, options);
    return {routed.weights_TK, routed.probs_TE, routed.logsumexp_T};
  };
  tested.reference = [=]() -> Tensors {
    const auto routed = reference::route_tokens(logits_TE, options);
    return {routed.weights_TK, routed.probs_TE, routed.logsumexp_T};
  };
  tested.forward_bound = tested.backward_bound = rounding_bound(accumulation_dtype(shape.dtype));
  append(cases, tested);
  auto& forward = cases[cases.size() - 2];
  forward.mismatch = [=, weights = forward.mismatch] {
    return all_differences(
        {difference("expert id", kernels::route_tokens(logits_TE, options).expert_idx_TK,
                    reference::route_tokens(logits_TE, options).expert_idx_TK, 0.0),
         weights()});
  };
}

void add_plan(const BenchShape& shape, const kernels::RoutedTokens& routed,
              std::vector<BenchCase>& cases) {
  const auto run = [=] {
    return kernels::plan_dispatch(routed.expert_idx_TK, routed.weights_TK, shape.num_experts,
                                  shape.tokens, {});
  };
  BenchCase bench_case = {"plan_dispatch", Bound::kMemory, plan_dispatch_work(shape)};
  bench_case.run = [=] { run(); };
  bench_case.mismatch = [=] {
    const auto plan = run();
    const auto expected =
        reference::plan_dispatch(routed.expert_idx_TK, routed.weights_TK, shape.num_experts,
                                 shape.tokens, std::nullopt, kernels::DropPolicy::kPosition);
    return all_differences(
        {difference("source", plan.source_R, expected.source_R, 0.0),
         difference("row of choice", plan.row_of_choice_TK, expected.row_of_choice_TK, 0.0),
         difference("counts", plan.counts_GE, expected.counts_GE, 0.0),
         difference("number of rows", plan.num_rows_E, expected.num_rows_E.to(at::kCPU), 0.0)});
  };
  cases.push_back(std::move(bench_case));
}

void add_moving(Inputs& inputs, const kernels::RoutedTokens& routed,
                const kernels::DispatchPlan& plan, std::vector<BenchCase>& cases) {
  const auto& shape = inputs.shape();
  const auto x_TD = leaf(inputs.values({shape.tokens, shape.hidden_size}));
  Differentiable permute = {"permute_tokens", Bound::kMemory, permute_tokens_work(shape), {x_TD}};
  permute.grad_outputs = {inputs.values({shape.rows(), shape.hidden_size})};
  permute.operation = [=]() -> Tensors { return {kernels::permute_tokens(x_TD, plan)}; };
  permute.reference = [=]() -> Tensors { return {reference::permute_tokens(x_TD, plan)}; };
  permute.backward_bound = inputs.bound();
  append(cases, permute);

  const auto rows_RD = leaf(inputs.values({shape.rows(), shape.hidden_size}));
  const auto weights_TK = leaf(routed.weights_TK.detach().clone());
  Differentiable unpermute = {"unpermute_tokens",
                              Bound::kMemory,
                              unpermute_tokens_work(shape),
                              {rows_RD, weights_TK},
                              {inputs.values({shape.tokens, shape.hidden_size})}};
  unpermute.operation = [=]() -> Tensors {
    return {kernels::unpermute_tokens(rows_RD, weights_TK, plan)};
  };
  unpermute.reference = [=]() -> Tensors {
    return {reference::unpermute_tokens(rows_RD, weights_TK, plan)};
  };
  unpermute.forward_bound = unpermute.backward_bound = inputs.bound();
  append(cases, unpermute);
}

void add_sort_chunks(Inputs& inputs, const at::Tensor& num_rows_E, std::vector<BenchCase>& cases) {
  // As if the rows came from eight ranks, each with its share of every expert's.
  constexpr int64_t kRanks = 8;
  const auto& shape = inputs.shape();
  const auto ranks_A1 = at::arange(kRanks, at::kLong).unsqueeze(1);
  const auto counts_AE = (num_rows_E * (ranks_A1 + 1)).floor_divide(kRanks) -
                         (num_rows_E * ranks_A1).floor_divide(kRanks);
  const auto rows_RD = leaf(inputs.values({shape.rows(), shape.hidden_size}));
  Differentiable tested = {"sort_chunks",
                           Bound::kMemory,
                           sort_chunks_work(shape, counts_AE.numel()),
                           {rows_RD},
                           {inputs.values({shape.rows(), shape.hidden_size})}};
  tested.operation = [=]() -> Tensors { return {kernels::sort_chunks(rows_RD, counts_AE)}; };
  tested.reference = [=]() -> Tensors { return {reference::sort_chunks(rows_RD, counts_AE)}; };
  append(cases, tested);
}

/// The weight gradient is added to a destination, as in the layer.
BenchCase grouped_gemm_backward_case(const Differentiable& tested, const at::Tensor& num_rows_E,
                                     const at::Tensor& destination_EOI) {
  const auto& rows_RI = tested.inputs[0];
  const auto& weight_EOI = tested.inputs[1];
  const auto out_RO = kernels::grouped_gemm(rows_RI, weight_EOI, num_rows_E, destination_EOI);
  BenchCase bench_case = {tested.name + " backward", tested.bound, tested.work.backward};
  const auto backward = [=, inputs = tested.inputs, grad_outputs = tested.grad_outputs] {
    return torch::autograd::grad({out_RO}, inputs, grad_outputs, /*retain_graph=*/true,
                                 /*create_graph=*/false, /*allow_unused=*/true);
  };
  bench_case.run = [=] { backward(); };
  bench_case.mismatch = [=] {
    const auto expected =
        torch::autograd::grad(tested.reference(), tested.inputs, tested.grad_outputs);
    destination_EOI.zero_();
    const auto grad_rows_RI = backward()[0];
    return all_differences(
        {difference("gradient of the rows", grad_rows_RI, expected[0], tested.backward_bound),
         difference("gradient of the weight", destination_EOI,
                    expected[1].to(destination_EOI.scalar_type()), tested.backward_bound)});
  };
  return bench_case;
}

void add_grouped_gemm(Inputs& inputs, const std::string& name, const at::Tensor& num_rows_E,
                      int64_t in_width, int64_t out_width, std::vector<BenchCase>& cases) {
  const auto& shape = inputs.shape();
  const auto rows_RI = leaf(inputs.values({shape.rows(), in_width}));
  const auto weight_EOI = leaf(inputs.values({shape.num_experts, out_width, in_width},
                                             1.0 / std::sqrt(static_cast<double>(in_width))));
  const auto destination_EOI =
      at::zeros(weight_EOI.sizes(), weight_EOI.options().dtype(accumulation_dtype(shape.dtype)));
  Differentiable tested = {name,
                           Bound::kCompute,
                           grouped_gemm_work(shape, in_width, out_width),
                           {rows_RI, weight_EOI},
                           {inputs.values({shape.rows(), out_width})}};
  tested.operation = [=]() -> Tensors {
    return {kernels::grouped_gemm(rows_RI, weight_EOI, num_rows_E)};
  };
  tested.reference = [=]() -> Tensors {
    return {reference::grouped_gemm(rows_RI, weight_EOI, num_rows_E)};
  };
  tested.forward_bound = tested.backward_bound = inputs.bound();
  cases.push_back(forward_case(tested));
  cases.push_back(grouped_gemm_backward_case(tested, num_rows_E, destination_EOI));
}

void add_activation(Inputs& inputs, std::vector<BenchCase>& cases) {
  const auto& shape = inputs.shape();
  const auto gate_up_R2F = leaf(inputs.values({shape.rows(), 2 * shape.intermediate_size}));
  Differentiable tested = {"gated_activation",
                           Bound::kMemory,
                           gated_activation_work(shape),
                           {gate_up_R2F},
                           {inputs.values({shape.rows(), shape.intermediate_size})}};
  tested.operation = [=]() -> Tensors { return {kernels::gated_activation(gate_up_R2F)}; };
  tested.reference = [=]() -> Tensors { return {reference::gated_activation(gate_up_R2F)}; };
  tested.forward_bound = tested.backward_bound = inputs.bound();
  append(cases, tested);
}

}  // namespace

std::vector<BenchCase> linear_cross_entropy_cases(const BenchShape& shape, at::Device device) {
  Inputs inputs(shape, device);
  const auto x_TD = leaf(inputs.values({shape.tokens, shape.hidden_size}));
  const auto weight_VD = leaf(inputs.values({shape.vocab_size, shape.hidden_size}, 0.02));
  const auto targets_T = inputs.indices({shape.tokens}, shape.vocab_size);
  Differentiable tested = {
      "linear_cross_entropy", Bound::kCompute, linear_cross_entropy_work(shape), {x_TD, weight_VD}};
  tested.grad_outputs = {at::ones({}, x_TD.options().dtype(accumulation_dtype(shape.dtype)))};
  tested.operation = [=]() -> Tensors {
    return {kernels::linear_cross_entropy(x_TD, weight_VD, targets_T)};
  };
  tested.reference = [=]() -> Tensors {
    return {reference::linear_cross_entropy(x_TD, weight_VD, targets_T)};
  };
  tested.forward_bound = tested.backward_bound = inputs.bound();
  return {forward_case(tested), forward_backward_case(tested)};
}

std::vector<BenchCase> operator_cases(const BenchShape& shape, at::Device device) {
  Inputs inputs(shape, device);
  const auto routed = kernels::route_tokens(inputs.accumulated({shape.tokens, shape.num_experts}),
                                            {.top_k = shape.top_k});
  const auto plan = kernels::plan_dispatch(routed.expert_idx_TK, routed.weights_TK,
                                           shape.num_experts, shape.tokens, {});
  const auto num_rows_E = plan.num_rows_E.to(at::kCPU);
  std::vector<BenchCase> cases;
  add_routing(inputs, cases);
  add_plan(shape, routed, cases);
  add_moving(inputs, routed, plan, cases);
  add_sort_chunks(inputs, num_rows_E, cases);
  add_grouped_gemm(inputs, "grouped_gemm gate_up", num_rows_E, shape.hidden_size,
                   2 * shape.intermediate_size, cases);
  add_activation(inputs, cases);
  add_grouped_gemm(inputs, "grouped_gemm down", num_rows_E, shape.intermediate_size,
                   shape.hidden_size, cases);
  for (auto& bench_case : linear_cross_entropy_cases(shape, device)) {
    cases.push_back(std::move(bench_case));
  }
  return cases;
}

}  // namespace moesaic::trainer
