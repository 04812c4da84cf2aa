// The collectives as stages of messages: the one implementation that all back-ends share.
//
// P ranks, S bytes. Reductions: every rank receives its chunk from all others, sums it in rank
// order, and (all-reduce) sends the sum to all. So each element is summed once, by one rank, and
// the replicas are identical; the bytes are those of a ring.
#pragma once

#include "parallel/operation.h"
#include "parallel/rank_order_sum.h"

namespace moesaic::parallel {

/// 2 stages; sends 2 S (P-1)/P bytes.
OperationPlan plan_all_reduce(const Group& group, Reduction reduction, const at::Tensor& x);
/// 1 stage; sends (P-1) S bytes, S of the input.
OperationPlan plan_all_gather(const Group& group, const at::Tensor& output,
                              const at::Tensor& input);
/// 1 stage; sends S (P-1)/P bytes, S of the input.
OperationPlan plan_reduce_scatter(const Group& group, const at::Tensor& output,
                                  const at::Tensor& input);
/// 1 stage.
OperationPlan plan_all_to_all_v(const Group& group, const at::Tensor& output,
                                const at::Tensor& input, at::IntArrayRef output_splits,
                                at::IntArrayRef input_splits);
/// 1 stage; the root sends (P-1) S bytes.
OperationPlan plan_broadcast(const Group& group, const at::Tensor& x, int root);
/// 1 stage.
OperationPlan plan_send(const Group& group, const at::Tensor& x, int destination);
OperationPlan plan_recv(const Group& group, const at::Tensor& x, int source);
/// No stage: the headers are the barrier.
OperationPlan plan_barrier(const Group& group);

}  // namespace moesaic::parallel
