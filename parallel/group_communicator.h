// A Communicator over a communication thread: checks the arguments, numbers the operations, counts
// the bytes. The same for all back-ends.
#pragma once

#include <atomic>

#include "parallel/communication_thread.h"
#include "parallel/communicator.h"

namespace moesaic::parallel {

class GroupCommunicator : public Communicator {
 public:
  GroupCommunicator(std::shared_ptr<CommunicationThread> thread, Group group);

  int rank() const override { return group_->rank; }
  int size() const override { return group_->size(); }
  const std::string& name() const override { return group_->name; }
  CommunicatorPtr split(int color, int key, const std::string& name) override;
  WorkPtr all_reduce_sum(const at::Tensor& x) override;
  WorkPtr all_reduce_max(const at::Tensor& x) override;
  WorkPtr all_gather(const at::Tensor& output, const at::Tensor& input) override;
  WorkPtr reduce_scatter_sum(const at::Tensor& output, const at::Tensor& input) override;
  WorkPtr all_to_all_v(const at::Tensor& output, const at::Tensor& input,
                       at::IntArrayRef output_splits, at::IntArrayRef input_splits) override;
  WorkPtr broadcast(const at::Tensor& x, int root) override;
  WorkPtr send(const at::Tensor& x, int destination) override;
  WorkPtr recv(const at::Tensor& x, int source) override;
  WorkPtr barrier() override;
  int64_t bytes_sent() const override { return bytes_sent_; }

  /// A barrier that is called something else in messages.
  WorkPtr barrier_named(OperationKind kind);

 private:
  WorkPtr issue(OperationPlan plan);
  int64_t next_sequence(const OperationPlan& plan);

  const std::shared_ptr<CommunicationThread> thread_;
  const std::shared_ptr<const Group> group_;
  int64_t sequence_ = 0;
  std::vector<int64_t> send_sequence_, recv_sequence_;
  std::atomic<int64_t> bytes_sent_ = 0;
};

}  // namespace moesaic::parallel
