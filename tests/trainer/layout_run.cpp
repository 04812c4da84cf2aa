#include "tests/trainer/layout_run.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <mutex>

#include "moe/model/families/olmoe.h"
#include "parallel/thread_communicator.h"

namespace moesaic::tests {
namespace {

using trainer::TrainingState;

constexpr double kLearningRate = 1e-2;
constexpr double kRelativeBound = 1e-10;  // of *equal*, in float64
constexpr double kFloor = 1e-6;           // of the largest of all tensors
constexpr double kRounding = 1e-14;       // of the largest of all tensors: what a zero may be

std::vector<moe::MicroBatch> micro_batches_of(const LayoutCase& layout_case, const Layout& layout,
                                              int data_rank, int64_t step) {
  const auto all = global_batch(layout_case, step);
  const int64_t b = layout.micro_batch_size;
  const int64_t share = kNumSequences / layout.world_size();
  std::vector<moe::MicroBatch> micro_batches;
  for (int64_t first = data_rank * share; first < (data_rank + 1) * share; first += b) {
    micro_batches.push_back({.input_ids_BS = all.input_ids_BS.narrow(0, first, b).contiguous(),
                             .targets_BS = all.targets_BS.narrow(0, first, b).contiguous(),
                             .first_sequence = first});
  }
  return micro_batches;
}

// buffers: one flat buffer for each group of the store.
HubPieces hub_pieces(TrainingState& state, const std::vector<at::Tensor>& buffers) {
  HubPieces pieces;
  for (const auto& parameter : state.model().parameters()) {
    const auto& entry = state.store().entry(parameter.spec.name);
    for (const auto& slice : parameter.slices) {
      const auto values = buffers[entry.group_idx]
                              .narrow(0, entry.offset + slice.parameter_offset, slice.numel)
                              .clone();
      if (!pieces.emplace(slice.tensor.name, HubPiece{slice.tensor_offset, values}).second) {
        throw std::logic_error("two pieces of " + slice.tensor.name);
      }
    }
  }
  return pieces;
}

std::vector<at::Tensor> flat_buffers(TrainingState& state,
                                     at::Tensor parallel::ParameterGroup::*member) {
  std::vector<at::Tensor> buffers;
  for (const auto& group : state.store().groups()) {
    buffers.push_back(group.*member);
  }
  return buffers;
}

void expect_identical_replicas(TrainingState& state) {
  for (const auto& group : state.store().groups()) {
    for (const auto& buffer : {group.values, group.gradients}) {
      const auto largest = buffer.detach().clone();
      const auto negative_smallest = buffer.detach().neg();
      group.replicas->all_reduce_max(largest)->wait();
      group.replicas->all_reduce_max(negative_smallest)->wait();
      EXPECT_TRUE(at::equal(largest, negative_smallest.neg()))
          << "replicas over " << group.replicated_over << " differ";
    }
  }
}

// Every element of every hub tensor is held by as many ranks as any other of that tensor.
void expect_all_tensors_held(TrainingState& state, const parallel::CommunicatorPtr& world) {
  const auto tensors = moe::olmoe_hub_tensors(state.model().config());
  std::map<std::string, int64_t> numel_here;
  for (const auto& parameter : state.model().parameters()) {
    for (const auto& slice : parameter.slices) {
      numel_here[slice.tensor.name] += slice.numel;
    }
  }
  const auto held = at::zeros({static_cast<int64_t>(tensors.size())}, at::kLong);
  for (size_t i = 0; i < tensors.size(); ++i) {
    held[static_cast<int64_t>(i)] = numel_here[tensors[i].name];
    numel_here.erase(tensors[i].name);
  }
  EXPECT_TRUE(numel_here.empty()) << numel_here.begin()->first << " is no tensor of a checkpoint";
  world->all_reduce_sum(held)->wait();
  for (size_t i = 0; i < tensors.size(); ++i) {
    const int64_t numel = at::empty(tensors[i].shape, at::device(at::kMeta)).numel();
    const auto total = held[static_cast<int64_t>(i)].item<int64_t>();
    EXPECT_TRUE(total > 0 && total % numel == 0) << tensors[i].name << ": " << total << " elements";
  }
}

/// Collects what differs.
class Differences {
 public:
  Differences(bool bitwise, bool attention_has_one_key)
      : bitwise_(bitwise), attention_has_one_key_(attention_has_one_key) {}

  void scalar(const std::string& name, double actual, double reference) {
    const double bound = bitwise_ ? 0.0 : kRelativeBound * std::abs(reference);
    if (!(std::abs(actual - reference) <= bound)) {
      lines_.push_back(fmt::format("{}: {:.17g} instead of {:.17g}, relative {:.2g}", name, actual,
                                   reference, std::abs(actual / reference - 1)));
    }
  }

  void integers(const std::string& name, const at::Tensor& actual, const at::Tensor& reference) {
    if (!at::equal(actual, reference)) {
      lines_.push_back(fmt::format("{}: {} of {} elements differ", name,
                                   actual.ne(reference).sum().item<int64_t>(), actual.numel()));
    }
  }

  // Pieces of one rank against whole tensors.
  void pieces(const std::string& what, const HubPieces& actual, const HubPieces& reference) {
    if (actual.empty() || reference.empty()) {
      lines_.push_back(what + ": nothing to compare");
    }
    double largest = 0.0;
    for (const auto& [name, piece] : reference) {
      largest = std::max(largest, piece.values.abs().max().item<double>());
    }
    for (const auto& [name, piece] : actual) {
      const auto& whole = reference.at(name).values;
      const auto part = whole.narrow(0, piece.tensor_offset, piece.values.numel());
      double bound = kRelativeBound * std::max(whole.abs().max().item<double>(), kFloor * largest);
      if (is_zero_but_for_rounding(what, name)) {
        bound = kRounding * largest;
        EXPECT_LT(piece.values.abs().max().item<double>(), bound) << what << " of " << name;
      }
      bound = bitwise_ ? 0.0 : bound;
      const double difference = (piece.values - part).abs().max().item<double>();
      if (!(difference <= bound)) {
        lines_.push_back(fmt::format("{} of {}: differs by {:.3g}, allowed {:.3g}", what, name,
                                     difference, bound));
      }
    }
  }

  std::vector<std::string> take() { return std::move(lines_); }

 private:
  bool is_zero_but_for_rounding(const std::string& what, const std::string& name) const {
    if (!attention_has_one_key_ || what == "weight") {
      return false;
    }
    return std::ranges::any_of(std::array{".q_proj.", ".k_proj.", ".q_norm.", ".k_norm."},
                               [&](const char* part) { return name.find(part) != name.npos; });
  }

  bool bitwise_;
  bool attention_has_one_key_;
  std::vector<std::string> lines_;
};

void compare_decisions(Differences& differences, const std::string& step,
                       const std::vector<moe::RoutingDecision>& actual,
                       const std::vector<moe::RoutingDecision>& reference) {
  for (const auto& decision : actual) {
    const int64_t num_tokens = decision.expert_idx_TK.size(0);
    bool found = false;
    // A reference of several micro-batches has the same ones; else one holds all tokens.
    for (const auto& whole : reference) {
      const int64_t first = decision.first_token - whole.first_token;
      if (whole.layer_idx != decision.layer_idx || first < 0 ||
          first + num_tokens > whole.expert_idx_TK.size(0)) {
        continue;
      }
      const auto name = fmt::format("{}layer {}, tokens from {}: ", step, decision.layer_idx,
                                    decision.first_token);
      differences.integers(name + "expert ids", decision.expert_idx_TK,
                           whole.expert_idx_TK.narrow(0, first, num_tokens));
      differences.integers(name + "dropped set", decision.is_dropped_TK,
                           whole.is_dropped_TK.narrow(0, first, num_tokens));
      found = true;
    }
    if (!found) {
      throw std::logic_error("the reference has no such tokens");
    }
  }
}

std::vector<std::string> compare(const LayoutRun& actual, const LayoutRun& reference,
                                 bool bitwise) {
  Differences differences(bitwise, reference.attention_has_one_key);
  for (size_t i = 0; i < reference.steps.size(); ++i) {
    const auto step = fmt::format("step {}: ", i);
    const auto& a = actual.steps.at(i).metrics;
    const auto& b = reference.steps[i].metrics;
    differences.integers(step + "counts", a.counts_LE, b.counts_LE);
    differences.integers(step + "dropped counts", a.dropped_L, b.dropped_L);
    compare_decisions(differences, step, actual.steps[i].decisions, reference.steps[i].decisions);
    differences.scalar(step + "targets", static_cast<double>(a.num_targets),
                       static_cast<double>(b.num_targets));
    differences.scalar(step + "loss", a.loss, b.loss);
    differences.scalar(step + "balance", a.auxiliary.load_balance, b.auxiliary.load_balance);
    differences.scalar(step + "router z", a.auxiliary.router_z, b.auxiliary.router_z);
    differences.scalar(step + "norm", a.grad_norm, b.grad_norm);
    differences.scalar(step + "skipped", a.skipped ? 1.0 : 0.0, b.skipped ? 1.0 : 0.0);
  }
  differences.pieces("gradient", actual.gradients, reference.gradients);
  differences.pieces("weight", actual.weights, reference.weights);
  differences.pieces("exp_avg", actual.exp_avg, reference.exp_avg);
  differences.pieces("exp_avg_sq", actual.exp_avg_sq, reference.exp_avg_sq);
  return differences.take();
}

LayoutRun train(const LayoutCase& layout_case, const Layout& layout, TrainingState& state) {
  const moe::StepShape shape = {kNumSequences, layout_case.sequence_length,
                                layout.micro_batch_size};
  const int data_rank = state.mesh().group("data")->rank();
  apply_skew(layout_case, state.model());
  state.statistics().keeps_decisions = true;

  LayoutRun run;
  run.attention_has_one_key = layout_case.attention_has_one_key;
  for (int64_t step = 0; step < kNumUpdates; ++step) {
    const auto micro_batches = micro_batches_of(layout_case, layout, data_rank, step);
    run.steps.push_back(
        {state.train_step(micro_batches, shape, kLearningRate), state.statistics().decisions});
    if (step == 0) {
      run.gradients = hub_pieces(state, flat_buffers(state, &parallel::ParameterGroup::gradients));
    }
  }
  run.weights = hub_pieces(state, flat_buffers(state, &parallel::ParameterGroup::values));
  run.exp_avg = hub_pieces(state, state.optimizer().exp_avg());
  run.exp_avg_sq = hub_pieces(state, state.optimizer().exp_avg_sq());
  return run;
}

}  // namespace

LayoutRun run_layout(const LayoutCase& layout_case, const Layout& layout,
                     const parallel::CommunicatorPtr& world,
                     const std::shared_ptr<parallel::FaultInjection>& fault) {
  const auto mesh = parallel::DeviceMesh::for_training(world, 1, layout.expert_data, layout.expert);
  TrainingState state(mesh, layout_case.options, fault);
  return train(layout_case, layout, state);
}

const LayoutRun& reference_run(const LayoutCase& layout_case, int64_t micro_batch_size) {
  static std::mutex mutex;
  static std::map<std::pair<std::string, int64_t>, LayoutRun> runs;
  std::lock_guard lock(mutex);
  auto& run = runs[{layout_case.name, micro_batch_size}];
  if (run.steps.empty()) {
    run = run_layout(layout_case, {1, 1, micro_batch_size}, parallel::make_single_communicator());
  }
  return run;
}

std::vector<std::string> differences(const LayoutRun& actual, const LayoutRun& reference) {
  return compare(actual, reference, /*bitwise=*/false);
}

std::vector<std::string> different_bits(const LayoutRun& actual, const LayoutRun& other) {
  return compare(actual, other, /*bitwise=*/true);
}

void expect_equal_to_one_rank(const LayoutCase& layout_case, const Layout& layout,
                              const parallel::CommunicatorPtr& world) {
  const auto& reference =
      reference_run(layout_case, reference_micro_batch_size(layout_case, layout));
  const auto mesh = parallel::DeviceMesh::for_training(world, 1, layout.expert_data, layout.expert);
  TrainingState state(mesh, layout_case.options, nullptr);
  const auto run = train(layout_case, layout, state);
  for (const auto& line : differences(run, reference)) {
    ADD_FAILURE() << layout_case.name << ", " << layout.text() << ", rank " << world->rank() << ": "
                  << line;
  }
  expect_identical_replicas(state);
  expect_all_tensors_held(state, world);
}

}  // namespace moesaic::tests
