// The dispatch plan on CUDA tensors. One read on the host: the rows of each expert, which the
// grouped products and the exchange between ranks need there, together with the flag of foreign
// ids.
#include "kernels/cuda/plan_dispatch.h"

#include <ATen/Functions.h>
#include <torch/library.h>

#include <optional>

#include "kernels/cuda/stream.h"
#include "kernels/cuda/tensor_pointers.h"

namespace moesaic::kernels::cuda {
namespace {

PlanShape plan_shape(const at::Tensor& expert_idx_TK, int64_t num_experts,
                     int64_t tokens_per_group) {
  return {.num_groups = tokens_per_group == 0 ? 0 : expert_idx_TK.size(0) / tokens_per_group,
          .choices_per_group = tokens_per_group * expert_idx_TK.size(1),
          .num_experts = num_experts};
}

/// Memory of one plan.
struct PlanTensors {
  at::Tensor source;         // [T * K], longer than the rows that stay
  at::Tensor row_of_choice;  // [T, K]
  at::Tensor counts_GE;
  at::Tensor rows_then_flag;  // [E + 1]: num_rows_E, then an int32 flag in the last element
  at::Tensor ranks_BE;
  at::Tensor first_row_GE;
  at::Tensor candidates;  // undefined unless weights decide
  at::Tensor priorities;

  PlanTensors(const at::Tensor& expert_idx, const PlanShape& shape, bool by_probability) {
    const auto options = expert_idx.options();
    source = at::empty({shape.num_choices()}, options);
    row_of_choice = at::empty_like(expert_idx);
    counts_GE = at::empty({shape.num_groups, shape.num_experts}, options);
    rows_then_flag = at::zeros({shape.num_experts + 1}, options);
    ranks_BE = at::empty({shape.num_chunks(), shape.num_experts}, options.dtype(at::kInt));
    first_row_GE = at::empty({shape.num_groups, shape.num_experts}, options);
    if (by_probability) {
      candidates = at::empty({shape.num_choices()}, options);
      priorities = at::empty({shape.num_choices()}, options);
    }
  }

  PlanArrays arrays() const {
    auto* rows = rows_then_flag.mutable_data_ptr<int64_t>();
    return {.source = source.mutable_data_ptr<int64_t>(),
            .row_of_choice = row_of_choice.mutable_data_ptr<int64_t>(),
            .counts_GE = counts_GE.mutable_data_ptr<int64_t>(),
            .num_rows_E = rows,
            .foreign_id = reinterpret_cast<int32_t*>(rows + rows_then_flag.size(0) - 1)};
  }

  PlanWorkspace workspace() const {
    return {.ranks_BE = ranks_BE.mutable_data_ptr<int32_t>(),
            .first_row_GE = first_row_GE.mutable_data_ptr<int64_t>(),
            .candidates = mutable_pointer_to<int64_t>(candidates),
            .priorities = mutable_pointer_to<uint64_t>(priorities)};
  }
};

std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor> plan_dispatch_cuda(
    const at::Tensor& expert_idx_TK, const at::Tensor& weights_TK, int64_t num_experts,
    int64_t tokens_per_group, std::optional<int64_t> capacity, bool drop_by_probability) {
  const OnDeviceOf device(expert_idx_TK);
  const auto expert_idx = expert_idx_TK.contiguous();
  const PlanShape shape = plan_shape(expert_idx, num_experts, tokens_per_group);
  const bool by_probability = capacity.has_value() && drop_by_probability;
  const PlanTensors plan(expert_idx, shape, by_probability);
  const auto* ids = pointer_to<int64_t>(expert_idx);
  if (by_probability) {
    const auto weights = weights_TK.contiguous();
    MOESAIC_DISPATCH_ELEMENTS(weights.scalar_type(), "plan_dispatch_cuda", [&] {
      plan_dispatch_by_probability(ids, pointer_to<DeviceElement<scalar_t>>(weights), shape,
                                   *capacity, plan.workspace(), plan.arrays(), device.stream());
    });
  } else {
    plan_dispatch_by_position(ids, shape, capacity, plan.workspace(), plan.arrays(),
                              device.stream());
  }
  const auto on_host = plan.rows_then_flag.to(at::kCPU);
  TORCH_CHECK_INDEX(on_host[num_experts].item<int64_t>() == 0,
                    "plan_dispatch: an expert is not in [0, ", num_experts, ")");
  const auto num_rows_E = on_host.narrow(0, 0, num_experts);
  const auto source_R = plan.source.narrow(0, 0, num_rows_E.sum().item<int64_t>());
  return {source_R, plan.row_of_choice, plan.counts_GE, num_rows_E};
}

// No read on the host: the plan of the same ids refuses a foreign one.
at::Tensor count_choices_cuda(const at::Tensor& expert_idx_TK, int64_t num_experts,
                              int64_t tokens_per_group) {
  const OnDeviceOf device(expert_idx_TK);
  const auto expert_idx = expert_idx_TK.contiguous();
  const PlanShape shape = plan_shape(expert_idx, num_experts, tokens_per_group);
  const auto counts_GE = at::empty({shape.num_groups, num_experts}, expert_idx.options());
  const auto as_int = expert_idx.options().dtype(at::kInt);
  const auto ranks_BE = at::empty({shape.num_chunks(), num_experts}, as_int);
  const auto foreign_id = at::empty({1}, as_int);
  count_choices(pointer_to<int64_t>(expert_idx), shape, mutable_pointer_to<int32_t>(ranks_BE),
                mutable_pointer_to<int64_t>(counts_GE), mutable_pointer_to<int32_t>(foreign_id),
                device.stream());
  return counts_GE;
}

}  // namespace
}  // namespace moesaic::kernels::cuda

TORCH_LIBRARY_IMPL(moesaic, MOESAIC_CUDA_KEY, m) {
  m.impl("plan_dispatch", &moesaic::kernels::cuda::plan_dispatch_cuda);
  m.impl("count_choices", &moesaic::kernels::cuda::count_choices_cuda);
}
