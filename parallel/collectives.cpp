#include "parallel/collectives.h"

#include <ATen/core/ivalue.h>
#include <torch/custom_class.h>

namespace moesaic::parallel {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Variable;
using torch::autograd::variable_list;

/// Carries a communicator through autograd: a context stores IValues only.
struct CommunicatorCapsule : torch::CustomClassHolder {
  explicit CommunicatorCapsule(CommunicatorPtr held) : communicator(std::move(held)) {}
  const CommunicatorPtr communicator;
};

at::Tensor exchange_rows(Communicator& communicator, const at::Tensor& input,
                         at::IntArrayRef output_splits, at::IntArrayRef input_splits) {
  auto sizes = input.sizes().vec();
  TORCH_CHECK(!sizes.empty(), "all_to_all_v: input must have rows, it is a scalar");
  sizes[0] = 0;
  for (const int64_t rows : output_splits) {
    sizes[0] += rows;
  }
  const at::Tensor output = at::empty(sizes, input.options());
  communicator.all_to_all_v(output, input.contiguous(), output_splits, input_splits)->wait();
  return output;
}

class AllToAllV : public torch::autograd::Function<AllToAllV> {
 public:
  static Variable forward(AutogradContext* context, const Variable& input,
                          std::vector<int64_t> output_splits, std::vector<int64_t> input_splits,
                          CommunicatorPtr communicator) {
    at::AutoDispatchBelowADInplaceOrView guard;
    context->saved_data["communicator"] =
        c10::IValue::make_capsule(c10::make_intrusive<CommunicatorCapsule>(communicator));
    context->saved_data["output_splits"] = output_splits;
    context->saved_data["input_splits"] = input_splits;
    return exchange_rows(*communicator, input, output_splits, input_splits);
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    TORCH_CHECK(!at::GradMode::is_enabled(),
                "double backward through all_to_all_v is not supported");
    const auto capsule = c10::static_intrusive_pointer_cast<CommunicatorCapsule>(
        context->saved_data["communicator"].toCapsule());
    const auto output_splits = context->saved_data["output_splits"].toIntVector();
    const auto input_splits = context->saved_data["input_splits"].toIntVector();
    // What was received goes back: the splits change places.
    return {exchange_rows(*capsule->communicator, gradients[0], input_splits, output_splits),
            Variable(), Variable(), Variable()};
  }
};

}  // namespace

at::Tensor all_to_all_v(const at::Tensor& input, at::IntArrayRef output_splits,
                        at::IntArrayRef input_splits, const CommunicatorPtr& communicator) {
  return AllToAllV::apply(input, output_splits.vec(), input_splits.vec(), communicator);
}

}  // namespace moesaic::parallel
