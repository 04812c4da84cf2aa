#include "parallel/gradient_reducer.h"

#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include <algorithm>

namespace moesaic::parallel {
namespace {

/// Runs a callback when autograd has accumulated into a parameter's `.grad`.
class AccumulatedHook : public torch::autograd::PostAccumulateGradHook {
 public:
  explicit AccumulatedHook(std::function<void()> callback) : callback_(std::move(callback)) {}
  void operator()(const torch::autograd::Variable& /*parameter*/) override { callback_(); }

 private:
  std::function<void()> callback_;
};

}  // namespace

GradientReducer::GradientReducer(ParameterStore& store, int64_t bucket_bytes, FaultInjection* fault)
    : store_(store), fault_(fault), bucket_of_entry_(store.entries().size(), -1) {
  build_buckets(bucket_bytes);
  register_hooks();
}

GradientReducer::~GradientReducer() {
  for (const auto& entry : store_.entries()) {
    torch::autograd::impl::set_post_acc_grad_hooks(*entry.spec.tensor, nullptr);
  }
}

// Parameters join the open bucket of their group in reverse order; buckets are ordered by the
// moment when they are full, which is when the backward can complete them.
void GradientReducer::build_buckets(int64_t bucket_bytes) {
  std::vector<Bucket> open(store_.groups().size());
  std::vector<std::vector<size_t>> members(open.size());
  const auto close = [&](int64_t group_idx) {
    for (const size_t i : members[group_idx]) {
      bucket_of_entry_[i] = static_cast<int64_t>(buckets_.size());
    }
    buckets_.push_back(open[group_idx]);
    open[group_idx] = Bucket{};
    members[group_idx].clear();
  };
  const auto& entries = store_.entries();
  for (size_t i = entries.size(); i-- > 0;) {
    const auto& entry = entries[i];
    auto& bucket = open[entry.group_idx];
    if (bucket.num_parameters == 0) {
      bucket.group_idx = entry.group_idx;
      bucket.end = entry.offset + entry.numel;
    }
    bucket.begin = entry.offset;
    ++bucket.num_parameters;
    members[entry.group_idx].push_back(i);
    const auto& gradients = store_.groups()[entry.group_idx].gradients;
    if ((bucket.end - bucket.begin) * gradients.element_size() >= bucket_bytes) {
      close(entry.group_idx);
    }
  }
  for (size_t g = 0; g < open.size(); ++g) {
    if (open[g].num_parameters > 0) {
      close(static_cast<int64_t>(g));
    }
  }
}

void GradientReducer::register_hooks() {
  for (size_t i = 0; i < store_.entries().size(); ++i) {
    const int64_t bucket_idx = bucket_of_entry_[i];
    torch::autograd::impl::set_post_acc_grad_hooks(
        *store_.entries()[i].spec.tensor,
        std::make_unique<AccumulatedHook>([this, bucket_idx] { mark_ready(bucket_idx); }));
  }
}

void GradientReducer::arm() {
  armed_ = true;
  num_started_ = 0;
  skipped_one_ = false;
  for (auto& bucket : buckets_) {
    bucket.num_ready = 0;
  }
}

void GradientReducer::mark_ready(int64_t bucket_idx) {
  if (!armed_) {
    return;
  }
  ++buckets_[bucket_idx].num_ready;
  start_complete_buckets();
}

void GradientReducer::start_complete_buckets() {
  while (num_started_ < buckets_.size() &&
         buckets_[num_started_].num_ready == buckets_[num_started_].num_parameters) {
    start(buckets_[num_started_]);
    ++num_started_;
  }
}

at::Tensor GradientReducer::gradients_of(const Bucket& bucket) const {
  return store_.groups()[bucket.group_idx].gradients.narrow(0, bucket.begin,
                                                            bucket.end - bucket.begin);
}

void GradientReducer::start(Bucket& bucket) {
  auto& replicas = *store_.groups()[bucket.group_idx].replicas;
  const at::Tensor gradients = gradients_of(bucket);
  if (fault_ != nullptr && replicas.size() > 1 && !skipped_one_ &&
      fault_->fire(FaultInjection::Kind::skip_reduce)) {
    bucket.kept_by_fault = gradients.clone();
    skipped_one_ = true;
  }
  bucket.work = replicas.all_reduce_sum(gradients);
}

void GradientReducer::finish() {
  for (; num_started_ < buckets_.size(); ++num_started_) {
    start(buckets_[num_started_]);
  }
  for (auto& bucket : buckets_) {
    bucket.work->wait();
    bucket.work.reset();
    if (bucket.kept_by_fault.defined()) {
      gradients_of(bucket).copy_(bucket.kept_by_fault);
      bucket.kept_by_fault.reset();
    }
  }
  armed_ = false;
  num_started_ = 0;
}

}  // namespace moesaic::parallel
