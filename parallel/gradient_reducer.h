// Sums the main gradients over the ranks that replicate them, bucket by bucket, while the backward
// is still running. Buckets start in a fixed order (reverse order of the parameters), never in
// order of readiness: every rank issues the same collectives whatever its data.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "parallel/fault_injection.h"
#include "parallel/parameter_store.h"

namespace moesaic::parallel {

class GradientReducer {
 public:
  /// Registers a hook on every parameter of the store, which must outlive the reducer.
  /// bucket_bytes: a bucket is closed when it holds at least that much.
  GradientReducer(ParameterStore& store, int64_t bucket_bytes, FaultInjection* fault);
  ~GradientReducer();
  GradientReducer(const GradientReducer&) = delete;
  GradientReducer& operator=(const GradientReducer&) = delete;

  /// Before the last backward of a step: from now on a complete bucket starts its reduction.
  void arm();
  /// After the last backward: starts what is left and waits. All ranks of the mesh must call it,
  /// also those without data. Afterwards every replica holds the same bits.
  void finish();

  int64_t num_buckets() const { return static_cast<int64_t>(buckets_.size()); }

 private:
  struct Bucket {
    int64_t group_idx = 0;
    int64_t begin = 0;  // elements of the group's flat gradients
    int64_t end = 0;
    int64_t num_parameters = 0;
    int64_t num_ready = 0;
    WorkPtr work;
    at::Tensor kept_by_fault;  // skip_reduce: the unreduced values, put back after the reduction
  };

  void build_buckets(int64_t bucket_bytes);
  void register_hooks();
  void mark_ready(int64_t bucket_idx);
  void start_complete_buckets();
  void start(Bucket& bucket);
  at::Tensor gradients_of(const Bucket& bucket) const;

  ParameterStore& store_;
  FaultInjection* fault_;
  std::vector<Bucket> buckets_;           // in the order of their reduction
  std::vector<int64_t> bucket_of_entry_;  // by index of the entry
  size_t num_started_ = 0;
  bool armed_ = false;
  bool skipped_one_ = false;  // skip_reduce spares one bucket a step
};

}  // namespace moesaic::parallel
