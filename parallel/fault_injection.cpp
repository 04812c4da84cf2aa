#include "parallel/fault_injection.h"

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

namespace moesaic::parallel {

namespace {

template <typename T>
void change(const at::Tensor& x, int64_t index) {
  T& element = x.mutable_data_ptr<T>()[index];
  const double value = static_cast<double>(element);
  element = static_cast<T>(value + 1000 * std::max(1.0, std::abs(value)));
}

void change_element(const at::Tensor& x, int64_t index) {
  switch (x.scalar_type()) {
    case at::kFloat:
      return change<float>(x, index);
    case at::kDouble:
      return change<double>(x, index);
    case at::kBFloat16:
      return change<at::BFloat16>(x, index);
    case at::kHalf:
      return change<at::Half>(x, index);
    default:
      throw std::invalid_argument(std::string("cannot corrupt elements of type ") +
                                  c10::toString(x.scalar_type()));
  }
}

class CorruptedWork : public Work {
 public:
  CorruptedWork(WorkPtr inner, at::Tensor output, int64_t index)
      : inner_(std::move(inner)), output_(std::move(output)), index_(index) {}
  void wait() override {
    inner_->wait();
    if (output_.defined()) {
      change_element(output_, index_);
      output_.reset();
    }
  }

 private:
  const WorkPtr inner_;
  at::Tensor output_;
  const int64_t index_;
};

class CorruptingCommunicator : public Communicator {
 public:
  CorruptingCommunicator(CommunicatorPtr inner, std::shared_ptr<FaultInjection> fault)
      : inner_(std::move(inner)), fault_(std::move(fault)) {}

  WorkPtr all_to_all_v(const at::Tensor& output, const at::Tensor& input,
                       at::IntArrayRef output_splits, at::IntArrayRef input_splits) override {
    WorkPtr work = inner_->all_to_all_v(output, input, output_splits, input_splits);
    if (is_done_ || !at::isFloatingType(output.scalar_type()) || output.numel() == 0) {
      return work;
    }
    int64_t row = 0;
    for (int source = 0; source < size(); ++source) {
      if (source != rank() && output_splits[source] > 0 &&
          fault_->fire(FaultInjection::Kind::corrupt_all_to_all)) {
        is_done_ = true;
        return std::make_shared<CorruptedWork>(work, output,
                                               row * (output.numel() / output.size(0)));
      }
      row += output_splits[source];
    }
    return work;
  }

  int rank() const override { return inner_->rank(); }
  int size() const override { return inner_->size(); }
  const std::string& name() const override { return inner_->name(); }
  CommunicatorPtr split(int color, int key, const std::string& name) override {
    return inner_->split(color, key, name);
  }
  WorkPtr all_reduce_sum(const at::Tensor& x) override { return inner_->all_reduce_sum(x); }
  WorkPtr all_reduce_max(const at::Tensor& x) override { return inner_->all_reduce_max(x); }
  WorkPtr all_gather(const at::Tensor& output, const at::Tensor& input) override {
    return inner_->all_gather(output, input);
  }
  WorkPtr reduce_scatter_sum(const at::Tensor& output, const at::Tensor& input) override {
    return inner_->reduce_scatter_sum(output, input);
  }
  WorkPtr broadcast(const at::Tensor& x, int root) override { return inner_->broadcast(x, root); }
  WorkPtr send(const at::Tensor& x, int destination) override {
    return inner_->send(x, destination);
  }
  WorkPtr recv(const at::Tensor& x, int source) override { return inner_->recv(x, source); }
  WorkPtr barrier() override { return inner_->barrier(); }
  int64_t bytes_sent() const override { return inner_->bytes_sent(); }

 private:
  const CommunicatorPtr inner_;
  const std::shared_ptr<FaultInjection> fault_;
  bool is_done_ = false;
};

}  // namespace

CommunicatorPtr inject_corruption(CommunicatorPtr inner, std::shared_ptr<FaultInjection> fault) {
  if (!fault || !fault->active || fault->kind != FaultInjection::Kind::corrupt_all_to_all) {
    return inner;
  }
  return std::make_shared<CorruptingCommunicator>(std::move(inner), std::move(fault));
}

}  // namespace moesaic::parallel
