// Takes the operators' tests to the GPU as they are: before they begin, each operator gets another
// implementation for CPU tensors, which moves its arguments to the GPU, calls the operator there
// and moves the results back. So the glue, cuBLAS and at::_grouped_mm meet every case of the tests.
#include <ATen/Functions.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <gtest/gtest.h>
#include <torch/library.h>

#include <string>
#include <utility>
#include <vector>

#include "kernels/backend.h"

namespace moesaic::tests {
namespace {

// Run lengths are on the CPU on every device (kernels/ops.h).
bool stays_on_the_cpu(const std::string& argument) {
  return argument == "num_rows" || argument == "counts";
}

// With the strides and the place in its memory that it has on the CPU.
at::Tensor moved_to_gpu(const at::Tensor& tensor) {
  if (tensor.numel() == 0) {
    return tensor.to(at::kCUDA);
  }
  int64_t end = tensor.storage_offset() + 1;
  for (int64_t dim = 0; dim < tensor.dim(); ++dim) {
    end += (tensor.size(dim) - 1) * tensor.stride(dim);
  }
  return tensor.as_strided({end}, {1}, 0)
      .to(at::kCUDA)
      .as_strided(tensor.sizes(), tensor.strides(), tensor.storage_offset());
}

void run_on_gpu(const c10::OperatorHandle& op, c10::DispatchKeySet, c10::Stack* stack) {
  const at::NoGradGuard no_grad;
  const auto& arguments = op.schema().arguments();
  const size_t first = stack->size() - arguments.size();
  std::vector<std::pair<at::Tensor, at::Tensor>> written;  // as the test has it, on the GPU
  for (size_t i = 0; i < arguments.size(); ++i) {
    auto& value = (*stack)[first + i];
    if (!value.isTensor() || !value.toTensor().defined() || stays_on_the_cpu(arguments[i].name())) {
      continue;
    }
    const auto tensor = value.toTensor();
    value = moved_to_gpu(tensor);
    if (arguments[i].alias_info() != nullptr && arguments[i].alias_info()->isWrite()) {
      written.emplace_back(tensor, value.toTensor());
    }
  }
  op.redispatchBoxed(c10::DispatchKeySet(c10::DispatchKey::CUDA), stack);
  for (size_t i = first; i < stack->size(); ++i) {
    if ((*stack)[i].isTensor() && (*stack)[i].toTensor().defined()) {
      (*stack)[i] = (*stack)[i].toTensor().cpu();
    }
  }
  for (const auto& [tensor, on_gpu] : written) {
    tensor.copy_(on_gpu);
  }
}

class OperatorsOnGpu : public testing::Environment {
 public:
  void SetUp() override {
    ASSERT_EQ(kernels::make_gpu_deterministic(), "");  // as in training
    for (const auto& name : c10::Dispatcher::singleton().getAllOpNames()) {
      if (name.getNamespace() != "moesaic") {
        continue;
      }
      const auto op = c10::Dispatcher::singleton().findSchemaOrThrow(name.name.c_str(),
                                                                     name.overload_name.c_str());
      ASSERT_TRUE(op.hasKernelForDispatchKey(c10::DispatchKey::CUDA)) << name;
      library_.impl(name.name.c_str(), torch::CppFunction::makeFromBoxedFunction<&run_on_gpu>());
      ++num_operators_;
    }
    ASSERT_GT(num_operators_, 0);
  }

 private:
  torch::Library library_{torch::Library::IMPL, "moesaic", c10::DispatchKey::CPU, __FILE__,
                          __LINE__};
  int num_operators_ = 0;
};

[[maybe_unused]] const auto* const environment =
    testing::AddGlobalTestEnvironment(new OperatorsOnGpu);

}  // namespace
}  // namespace moesaic::tests
