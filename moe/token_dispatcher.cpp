#include "moe/token_dispatcher.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>

#include "moe/experts.h"
#include "parallel/collectives.h"

namespace moesaic::moe {
namespace {

using parallel::FaultInjection;

std::vector<int64_t> to_vector(const at::Tensor& counts) {
  const auto contiguous = counts.contiguous();
  const auto* data = contiguous.const_data_ptr<int64_t>();
  return {data, data + contiguous.numel()};
}

}  // namespace

at::Tensor TokenDispatcher::with_fault(const at::Tensor& rows_RD) const {
  if (fault_ == nullptr || rows_RD.size(0) == 0 || !fault_->fire(FaultInjection::Kind::drop_row)) {
    return rows_RD;
  }
  const auto keep_R1 = at::ones({rows_RD.size(0), 1}, rows_RD.options());
  keep_R1[0].zero_();
  return rows_RD * keep_R1;
}

Dispatched TokenDispatcher::dispatch(const at::Tensor& x_TD, const Routing& routing) {
  Dispatched dispatched;
  dispatched.rows_RD = with_fault(kernels::permute_tokens(x_TD, routing.plan));
  dispatched.num_rows_e = routing.plan.num_rows_E;
  return dispatched;
}

at::Tensor TokenDispatcher::combine(const at::Tensor& y_RD, const Routing& routing,
                                    const Dispatched& /*dispatched*/) {
  return kernels::unpermute_tokens(y_RD, routing.weights_TK, routing.plan);
}

AllToAllTokenDispatcher::AllToAllTokenDispatcher(parallel::CommunicatorPtr expert,
                                                 int64_t num_experts,
                                                 std::shared_ptr<FaultInjection> fault)
    : TokenDispatcher(fault), expert_(parallel::inject_corruption(std::move(expert), fault)) {
  TORCH_CHECK(num_experts >= expert_->size(), "all-to-all dispatcher: ", num_experts,
              " experts are too few for ", expert_->size(), " expert ranks");
  for (int rank = 0; rank < expert_->size(); ++rank) {
    num_experts_W_.push_back(expert_range(rank, expert_->size(), num_experts).size());
  }
}

at::Tensor AllToAllTokenDispatcher::exchange_counts(const at::Tensor& num_rows_E) {
  const int64_t num_ranks = expert_->size();
  const int64_t num_local_experts = num_experts_W_[expert_->rank()];
  const std::vector<int64_t> received_splits(num_ranks, num_local_experts);
  auto received = at::empty({num_ranks * num_local_experts}, at::kLong);
  expert_->all_to_all_v(received, num_rows_E.contiguous(), received_splits, num_experts_W_)->wait();
  return received.view({num_ranks, num_local_experts});
}

Dispatched AllToAllTokenDispatcher::dispatch(const at::Tensor& x_TD, const Routing& routing) {
  const auto& num_rows_E = routing.plan.num_rows_E;
  const auto received_We = exchange_counts(num_rows_E);

  Dispatched dispatched;
  for (const auto& rows_of_rank : num_rows_E.split_with_sizes(num_experts_W_)) {
    dispatched.sent_W.push_back(rows_of_rank.sum().item<int64_t>());
  }
  dispatched.received_W = to_vector(received_We.sum(1));
  dispatched.received_We = received_We;
  dispatched.num_rows_e = received_We.sum(0);
  const auto arrived_RD = parallel::all_to_all_v(kernels::permute_tokens(x_TD, routing.plan),
                                                 dispatched.received_W, dispatched.sent_W, expert_);
  // Arrived in order (source rank, expert); experts want (expert, source rank).
  dispatched.rows_RD = with_fault(kernels::sort_chunks(arrived_RD, received_We));
  return dispatched;
}

at::Tensor AllToAllTokenDispatcher::combine(const at::Tensor& y_RD, const Routing& routing,
                                            const Dispatched& dispatched) {
  const auto in_order_of_arrival_RD = kernels::sort_chunks(y_RD, dispatched.received_We.t());
  const auto returned_RD = parallel::all_to_all_v(in_order_of_arrival_RD, dispatched.sent_W,
                                                  dispatched.received_W, expert_);
  return TokenDispatcher::combine(returned_RD, routing, dispatched);
}

}  // namespace moesaic::moe
