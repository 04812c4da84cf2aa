#include "trainer/bench/differentiable_cases.h"

#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>

#include <memory>

namespace moesaic::trainer {
namespace {

std::string differences(const Tensors& actual, const Tensors& expected, const std::string& what,
                        double bound) {
  std::vector<std::string> texts;
  for (size_t i = 0; i < expected.size(); ++i) {
    texts.push_back(difference(what + " " + std::to_string(i), actual[i], expected[i], bound));
  }
  return all_differences(texts);
}

Tensors gradients(const Tensors& outputs, const Differentiable& tested, bool retain_graph) {
  return torch::autograd::grad(outputs, tested.inputs, tested.grad_outputs, retain_graph);
}

}  // namespace

BenchCase forward_case(const Differentiable& tested) {
  BenchCase bench_case = {tested.name, tested.bound, tested.work.forward};
  bench_case.run = [operation = tested.operation] {
    const at::NoGradGuard no_grad;
    operation();
  };
  bench_case.mismatch = [tested] {
    const at::NoGradGuard no_grad;
    return differences(tested.operation(), tested.reference(), "output", tested.forward_bound);
  };
  return bench_case;
}

BenchCase backward_case(const Differentiable& tested) {
  BenchCase bench_case = {tested.name + " backward", tested.bound, tested.work.backward};
  const auto outputs = std::make_shared<Tensors>(tested.operation());
  bench_case.run = [=] { gradients(*outputs, tested, /*retain_graph=*/true); };
  bench_case.mismatch = [=] {
    return differences(gradients(*outputs, tested, /*retain_graph=*/true),
                       gradients(tested.reference(), tested, /*retain_graph=*/false),
                       "gradient of input", tested.backward_bound);
  };
  return bench_case;
}

BenchCase forward_backward_case(const Differentiable& tested) {
  BenchCase bench_case = {tested.name + " forward+backward", tested.bound, tested.work.backward};
  bench_case.run = [tested] { gradients(tested.operation(), tested, /*retain_graph=*/false); };
  bench_case.mismatch = [tested] {
    return differences(gradients(tested.operation(), tested, /*retain_graph=*/false),
                       gradients(tested.reference(), tested, /*retain_graph=*/false),
                       "gradient of input", tested.backward_bound);
  };
  return bench_case;
}

}  // namespace moesaic::trainer
