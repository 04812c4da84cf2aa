// Brings tokens to the experts that live on each rank, and their results back.
//
// The local dispatcher is the case without communication; the all-to-all dispatcher refines it.
// Dispatchers have no parameters.
// Shapes: T tokens, D model width, E experts, e experts of this rank, W ranks, R rows, K choices.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>

#include "moe/router.h"
#include "parallel/communicator.h"
#include "parallel/fault_injection.h"

namespace moesaic::moe {

/// Rows for the experts of this rank, and what combine() needs to bring them back.
struct Dispatched {
  at::Tensor rows_RD;     ///< one run for each expert of this rank
  at::Tensor num_rows_e;  ///< int64, on the CPU: the lengths of the runs
  /// Only for exchanged rows: rows of each destination and of each source rank, and of each source
  /// rank for each expert, int64 on the CPU.
  std::vector<int64_t> sent_W;
  std::vector<int64_t> received_W;
  at::Tensor received_We;
};

/// All experts live on this rank.
class TokenDispatcher {
 public:
  /// fault: may be null; `drop_row` zeroes a row that the experts get.
  explicit TokenDispatcher(std::shared_ptr<parallel::FaultInjection> fault)
      : fault_(std::move(fault)) {}
  virtual ~TokenDispatcher() = default;
  /// Rows in expert order; rows of an expert in token order. Differentiable in x_TD.
  virtual Dispatched dispatch(const at::Tensor& x_TD, const Routing& routing);
  /// Weighted sum of the experts' results back in token order. Differentiable.
  virtual at::Tensor combine(const at::Tensor& y_RD, const Routing& routing,
                             const Dispatched& dispatched);

 protected:
  at::Tensor with_fault(const at::Tensor& rows_RD) const;

  std::shared_ptr<parallel::FaultInjection> fault_;
};

/// Expert parallelism (GShard, 2006.16668): rank r of `expert` owns expert_range(r, W, E).
/// Rows of an expert are ordered by source rank, then by token.
/// Collective over `expert`: every rank calls dispatch and combine for every layer and micro-batch,
/// also without tokens. Cost, forward: two exchanges of rows (K D elements a token each) and one of
/// e counts a pair of ranks; the same rows again in the backward.
class AllToAllTokenDispatcher : public TokenDispatcher {
 public:
  AllToAllTokenDispatcher(parallel::CommunicatorPtr expert, int64_t num_experts,
                          std::shared_ptr<parallel::FaultInjection> fault);
  Dispatched dispatch(const at::Tensor& x_TD, const Routing& routing) override;
  at::Tensor combine(const at::Tensor& y_RD, const Routing& routing,
                     const Dispatched& dispatched) override;

 private:
  at::Tensor exchange_counts(const at::Tensor& num_rows_E);

  parallel::CommunicatorPtr expert_;
  std::vector<int64_t> num_experts_W_;  // experts of each rank
};

}  // namespace moesaic::moe
