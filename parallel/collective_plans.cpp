#include "parallel/collective_plans.h"

#include <cstring>

namespace moesaic::parallel {

namespace {

OperationPlan begin_plan(const Group& group, OperationKind kind) {
  OperationPlan plan;
  plan.kind = kind;
  for (int rank = 0; rank < group.size(); ++rank) {
    if (rank != group.rank) {
      plan.peers.push_back(rank);
    }
  }
  return plan;
}

[[noreturn]] void refuse(const Group& group, OperationKind kind, const std::string& what) {
  throw std::invalid_argument(std::string(to_string(kind)) + " of '" + group.name + "' on rank " +
                              std::to_string(group.world_rank()) + ": " + what);
}

void check_tensor(const Group& group, OperationKind kind, const char* name, const at::Tensor& x) {
  if (!x.defined()) {
    refuse(group, kind, std::string(name) + " is not defined");
  }
  if (!x.device().is_cpu() && group.size() > 1) {
    refuse(group, kind,
           std::string(name) + " must be a CPU tensor, it lives on " + x.device().str());
  }
  if (!x.is_contiguous()) {
    refuse(group, kind,
           std::string(name) + " must be contiguous, its sizes are " + c10::str(x.sizes()) +
               ", its strides " + c10::str(x.strides()));
  }
}

void check_reducible(const Group& group, OperationKind kind, const at::Tensor& x) {
  if (!is_reducible(x.scalar_type())) {
    refuse(group, kind,
           std::string("cannot reduce elements of type ") + c10::toString(x.scalar_type()));
  }
}

void check_pair(const Group& group, OperationKind kind, const at::Tensor& output,
                const at::Tensor& input) {
  check_tensor(group, kind, "output", output);
  check_tensor(group, kind, "input", input);
  if (output.scalar_type() != input.scalar_type()) {
    refuse(group, kind,
           std::string("output has type ") + c10::toString(output.scalar_type()) + ", input " +
               c10::toString(input.scalar_type()));
  }
}

char* bytes_of(const at::Tensor& x) {
  return static_cast<char*>(x.data_ptr());
}

void copy_bytes(char* destination, const char* source, int64_t bytes) {
  if (bytes > 0 && destination != source) {
    std::memmove(destination, source, bytes);
  }
}

/// The one stage of a group of one: what a rank has is what it gets, on whatever device.
Stage copy_stage(const at::Tensor& output, const at::Tensor& input) {
  Stage stage;
  stage.then = [output = output.detach(), input = input.detach()] {
    output.copy_(input.view(output.sizes()));
  };
  return stage;
}

/// Scratch for the chunks of the others, not initialised.
char* add_scratch(OperationPlan& plan, int64_t bytes) {
  std::shared_ptr<char[]> scratch(new char[bytes]);
  plan.scratch = scratch;
  return scratch.get();
}

/// The stage in which every rank gets chunk `rank` of `input` from all others and reduces it into
/// `output`. begin(r): first element of chunk r.
template <typename Begin>
Stage reduce_stage(OperationPlan& plan, const Group& group, Reduction reduction,
                   const at::Tensor& input, char* output, Begin begin) {
  Stage stage;
  const int64_t element_bytes = input.element_size();
  const int64_t num_elements = begin(group.rank + 1) - begin(group.rank);
  const int64_t chunk_bytes = num_elements * element_bytes;
  char* scratch = add_scratch(plan, chunk_bytes * (group.size() - 1));
  std::vector<const void*> sources(group.size());
  for (const int peer : plan.peers) {
    stage.sends.push_back({peer, bytes_of(input) + begin(peer) * element_bytes,
                           (begin(peer + 1) - begin(peer)) * element_bytes});
    stage.receives.push_back({peer, scratch, chunk_bytes});
    sources[peer] = scratch;
    scratch += chunk_bytes;
  }
  sources[group.rank] = bytes_of(input) + begin(group.rank) * element_bytes;
  stage.then = [=, dtype = input.scalar_type()] {
    reduce_in_rank_order(reduction, dtype, output, sources, num_elements);
  };
  return stage;
}

OperationPlan plan_point_to_point(const Group& group, OperationKind kind, const at::Tensor& x,
                                  int peer) {
  check_tensor(group, kind, "x", x);
  if (peer < 0 || peer >= group.size() || peer == group.rank) {
    refuse(group, kind,
           "the peer must be another rank of " + std::to_string(group.size()) + ", got " +
               std::to_string(peer));
  }
  OperationPlan plan;
  plan.kind = kind;
  plan.peers = {peer};
  plan.bytes = static_cast<int64_t>(x.nbytes());
  plan.dtype = x.scalar_type();
  plan.keep_alive = {x};
  Stage stage;
  auto& messages = kind == OperationKind::send ? stage.sends : stage.receives;
  messages.push_back({peer, bytes_of(x), plan.bytes});
  plan.stages.push_back(std::move(stage));
  return plan;
}

}  // namespace

OperationPlan plan_all_reduce(const Group& group, Reduction reduction, const at::Tensor& x) {
  const auto kind =
      reduction == Reduction::sum ? OperationKind::all_reduce_sum : OperationKind::all_reduce_max;
  check_tensor(group, kind, "x", x);
  check_reducible(group, kind, x);
  OperationPlan plan = begin_plan(group, kind);
  plan.bytes = static_cast<int64_t>(x.nbytes());
  plan.dtype = x.scalar_type();
  plan.keep_alive = {x};
  if (group.size() == 1) {
    return plan;
  }
  const int64_t element_bytes = x.element_size();
  auto begin = [n = x.numel(), p = group.size()](int rank) { return n * rank / p; };
  char* own = bytes_of(x) + begin(group.rank) * element_bytes;
  plan.stages.push_back(reduce_stage(plan, group, reduction, x, own, begin));
  Stage gather;
  for (const int peer : plan.peers) {
    gather.sends.push_back(
        {peer, own, (begin(group.rank + 1) - begin(group.rank)) * element_bytes});
    gather.receives.push_back({peer, bytes_of(x) + begin(peer) * element_bytes,
                               (begin(peer + 1) - begin(peer)) * element_bytes});
  }
  plan.stages.push_back(std::move(gather));
  return plan;
}

OperationPlan plan_all_gather(const Group& group, const at::Tensor& output,
                              const at::Tensor& input) {
  const auto kind = OperationKind::all_gather;
  check_pair(group, kind, output, input);
  if (output.numel() != input.numel() * group.size()) {
    refuse(group, kind,
           "output must have " + std::to_string(group.size()) + " x " +
               std::to_string(input.numel()) + " elements, it has " +
               std::to_string(output.numel()));
  }
  OperationPlan plan = begin_plan(group, kind);
  plan.bytes = static_cast<int64_t>(input.nbytes());
  plan.dtype = input.scalar_type();
  plan.keep_alive = {output, input};
  if (group.size() == 1) {
    plan.stages.push_back(copy_stage(output, input));
    return plan;
  }
  Stage stage;
  for (const int peer : plan.peers) {
    stage.sends.push_back({peer, bytes_of(input), plan.bytes});
    stage.receives.push_back({peer, bytes_of(output) + peer * plan.bytes, plan.bytes});
  }
  stage.then = [own = bytes_of(output) + group.rank * plan.bytes, source = bytes_of(input),
                bytes = plan.bytes] { copy_bytes(own, source, bytes); };
  plan.stages.push_back(std::move(stage));
  return plan;
}

OperationPlan plan_reduce_scatter(const Group& group, const at::Tensor& output,
                                  const at::Tensor& input) {
  const auto kind = OperationKind::reduce_scatter_sum;
  check_pair(group, kind, output, input);
  check_reducible(group, kind, input);
  if (input.numel() != output.numel() * group.size()) {
    refuse(group, kind,
           "input must have " + std::to_string(group.size()) + " x " +
               std::to_string(output.numel()) + " elements, it has " +
               std::to_string(input.numel()));
  }
  OperationPlan plan = begin_plan(group, kind);
  plan.bytes = static_cast<int64_t>(input.nbytes());
  plan.dtype = input.scalar_type();
  plan.keep_alive = {output, input};
  if (group.size() == 1) {
    plan.stages.push_back(copy_stage(output, input));
    return plan;
  }
  auto begin = [n = output.numel()](int rank) { return n * rank; };
  plan.stages.push_back(reduce_stage(plan, group, Reduction::sum, input, bytes_of(output), begin));
  return plan;
}

namespace {

void check_splits(const Group& group, const char* name, const at::Tensor& x,
                  at::IntArrayRef splits) {
  const auto kind = OperationKind::all_to_all_v;
  if (x.dim() < 1) {
    refuse(group, kind, std::string(name) + " must have rows, it is a scalar");
  }
  int64_t rows = 0;
  bool is_negative = false;
  for (const int64_t split : splits) {
    rows += split;
    is_negative |= split < 0;
  }
  if (static_cast<int>(splits.size()) != group.size() || is_negative || rows != x.size(0)) {
    refuse(group, kind,
           std::string(name) + "_splits must be " + std::to_string(group.size()) +
               " counts whose sum is the " + std::to_string(x.size(0)) + " rows of " + name +
               ", got " + c10::str(splits));
  }
}

}  // namespace

OperationPlan plan_all_to_all_v(const Group& group, const at::Tensor& output,
                                const at::Tensor& input, at::IntArrayRef output_splits,
                                at::IntArrayRef input_splits) {
  const auto kind = OperationKind::all_to_all_v;
  check_pair(group, kind, output, input);
  check_splits(group, "output", output, output_splits);
  check_splits(group, "input", input, input_splits);
  if (output.sizes().slice(1) != input.sizes().slice(1)) {
    refuse(group, kind,
           "rows of output " + c10::str(output.sizes()) + " and input " + c10::str(input.sizes()) +
               " differ");
  }
  OperationPlan plan = begin_plan(group, kind);
  plan.bytes = static_cast<int64_t>(input.nbytes());
  plan.dtype = input.scalar_type();
  plan.row_bytes = c10::multiply_integers(input.sizes().slice(1)) * input.element_size();
  plan.input_rows = input_splits.vec();
  plan.output_rows = output_splits.vec();
  plan.keep_alive = {output, input};
  if (group.size() == 1) {
    plan.stages.push_back(copy_stage(output, input));
    return plan;
  }
  Stage stage;
  char* from = bytes_of(input);
  char* to = bytes_of(output);
  for (int rank = 0; rank < group.size(); ++rank) {
    const int64_t send_bytes = input_splits[rank] * plan.row_bytes;
    const int64_t receive_bytes = output_splits[rank] * plan.row_bytes;
    if (rank == group.rank) {
      if (send_bytes != receive_bytes) {
        refuse(group, kind,
               "sends itself " + std::to_string(input_splits[rank]) + " rows and expects " +
                   std::to_string(output_splits[rank]));
      }
      stage.then = [=] { copy_bytes(to, from, send_bytes); };
    } else {
      stage.sends.push_back({rank, from, send_bytes});
      stage.receives.push_back({rank, to, receive_bytes});
    }
    from += send_bytes;
    to += receive_bytes;
  }
  plan.stages.push_back(std::move(stage));
  return plan;
}

OperationPlan plan_broadcast(const Group& group, const at::Tensor& x, int root) {
  const auto kind = OperationKind::broadcast;
  check_tensor(group, kind, "x", x);
  if (root < 0 || root >= group.size()) {
    refuse(
        group, kind,
        "root must be a rank of " + std::to_string(group.size()) + ", got " + std::to_string(root));
  }
  OperationPlan plan = begin_plan(group, kind);
  plan.bytes = static_cast<int64_t>(x.nbytes());
  plan.dtype = x.scalar_type();
  plan.root = root;
  plan.keep_alive = {x};
  Stage stage;
  if (group.rank != root) {
    stage.receives.push_back({root, bytes_of(x), plan.bytes});
  } else {
    for (const int peer : plan.peers) {
      stage.sends.push_back({peer, bytes_of(x), plan.bytes});
    }
  }
  plan.stages.push_back(std::move(stage));
  return plan;
}

OperationPlan plan_send(const Group& group, const at::Tensor& x, int destination) {
  return plan_point_to_point(group, OperationKind::send, x, destination);
}

OperationPlan plan_recv(const Group& group, const at::Tensor& x, int source) {
  return plan_point_to_point(group, OperationKind::recv, x, source);
}

OperationPlan plan_barrier(const Group& group) {
  return begin_plan(group, OperationKind::barrier);
}

}  // namespace moesaic::parallel
