#include "parallel/group_communicator.h"

#include "parallel/collective_plans.h"

namespace moesaic::parallel {

GroupCommunicator::GroupCommunicator(std::shared_ptr<CommunicationThread> thread, Group group)
    : thread_(std::move(thread)),
      group_(std::make_shared<const Group>(std::move(group))),
      send_sequence_(group_->size(), 0),
      recv_sequence_(group_->size(), 0) {}

int64_t GroupCommunicator::next_sequence(const OperationPlan& plan) {
  switch (plan.kind) {
    case OperationKind::send:
      return send_sequence_[plan.peers.at(0)]++;
    case OperationKind::recv:
      return recv_sequence_[plan.peers.at(0)]++;
    default:
      return sequence_++;
  }
}

WorkPtr GroupCommunicator::issue(OperationPlan plan) {
  int64_t bytes = 0;
  for (const Stage& stage : plan.stages) {
    for (const Message& message : stage.sends) {
      bytes += message.bytes;
    }
  }
  bytes_sent_ += bytes;
  const int64_t sequence = next_sequence(plan);
  const CommunicationOptions& options = thread_->options();
  auto operation = std::make_shared<Operation>(group_, sequence, std::move(plan), options.timeout_s,
                                               options.max_message_bytes);
  if (operation->plan().peers.empty()) {  // nobody to talk to: done before we return
    for (const Stage& stage : operation->plan().stages) {
      if (stage.then) {
        stage.then();
      }
    }
    operation->complete();
  } else {
    thread_->issue(operation);
  }
  return operation;
}

CommunicatorPtr GroupCommunicator::split(int color, int key, const std::string& name) {
  // By all ranks: color, key, next free context.
  const at::Tensor mine = at::empty({3}, at::kLong);
  const at::Tensor all = at::empty({size(), 3}, at::kLong);
  auto* mine_data = mine.mutable_data_ptr<int64_t>();
  mine_data[0] = color;
  mine_data[1] = key;
  mine_data[2] = thread_->next_context;
  OperationPlan plan = plan_all_gather(*group_, all, mine);
  plan.kind = OperationKind::split;
  issue(std::move(plan))->wait();

  // A context that is free on all ranks of the parent. Groups of different colors share it: no two
  // of their ranks ever meet.
  const auto* rows = all.const_data_ptr<int64_t>();
  int64_t context = 0;
  std::vector<std::pair<int64_t, int>> members;  // key, rank here
  for (int other = 0; other < size(); ++other) {
    context = std::max(context, rows[3 * other + 2]);
    if (rows[3 * other] == color) {
      members.emplace_back(rows[3 * other + 1], other);
    }
  }
  thread_->next_context = context + 1;
  if (context >= thread_->num_contexts()) {
    throw CommunicationError("rank " + std::to_string(rank()) + ": split of '" + group_->name +
                             "' needs communicator " + std::to_string(context) +
                             ", the message tags of this MPI allow " +
                             std::to_string(thread_->num_contexts()));
  }
  std::sort(members.begin(), members.end());
  Group group{.name = name, .context = context, .rank = 0, .world_ranks = {}};
  for (size_t i = 0; i < members.size(); ++i) {
    if (members[i].second == rank()) {
      group.rank = static_cast<int>(i);
    }
    group.world_ranks.push_back(group_->world_ranks[members[i].second]);
  }
  return std::make_shared<GroupCommunicator>(thread_, std::move(group));
}

WorkPtr GroupCommunicator::all_reduce_sum(const at::Tensor& x) {
  return issue(plan_all_reduce(*group_, Reduction::sum, x));
}

WorkPtr GroupCommunicator::all_reduce_max(const at::Tensor& x) {
  return issue(plan_all_reduce(*group_, Reduction::max, x));
}

WorkPtr GroupCommunicator::all_gather(const at::Tensor& output, const at::Tensor& input) {
  return issue(plan_all_gather(*group_, output, input));
}

WorkPtr GroupCommunicator::reduce_scatter_sum(const at::Tensor& output, const at::Tensor& input) {
  return issue(plan_reduce_scatter(*group_, output, input));
}

WorkPtr GroupCommunicator::all_to_all_v(const at::Tensor& output, const at::Tensor& input,
                                        at::IntArrayRef output_splits,
                                        at::IntArrayRef input_splits) {
  return issue(plan_all_to_all_v(*group_, output, input, output_splits, input_splits));
}

WorkPtr GroupCommunicator::broadcast(const at::Tensor& x, int root) {
  return issue(plan_broadcast(*group_, x, root));
}

WorkPtr GroupCommunicator::send(const at::Tensor& x, int destination) {
  return issue(plan_send(*group_, x, destination));
}

WorkPtr GroupCommunicator::recv(const at::Tensor& x, int source) {
  return issue(plan_recv(*group_, x, source));
}

WorkPtr GroupCommunicator::barrier() {
  return barrier_named(OperationKind::barrier);
}

WorkPtr GroupCommunicator::barrier_named(OperationKind kind) {
  OperationPlan plan = plan_barrier(*group_);
  plan.kind = kind;
  return issue(std::move(plan));
}

}  // namespace moesaic::parallel
