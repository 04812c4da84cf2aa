#include "moe/load_balance.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <torch/csrc/autograd/custom_function.h>

#include "kernels/ops.h"

namespace moesaic::moe {

/// Counts that a backward will read; filled at once, or by finish_forward.
struct BalanceCounts : torch::CustomClassHolder {
  at::Tensor counts_GE;  // int64; G = 1 where one group spans several micro-batches
  bool complete = true;  // false until finish_forward where a group spans several ranks
  double scale = 0.0;    // d(coef * loss) / d probs[t, e] = scale * counts[group of t, e]
};

namespace {

using parallel::FaultInjection;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// Keeps a shared_ptr alive inside an autograd context.
struct CountsHolder : torch::CustomClassHolder {
  explicit CountsHolder(std::shared_ptr<BalanceCounts> held) : counts(std::move(held)) {}
  std::shared_ptr<BalanceCounts> counts;
};

class InjectLoadBalance : public torch::autograd::Function<InjectLoadBalance> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& weights_TK,
                            const at::Tensor& probs_TE,
                            const c10::intrusive_ptr<CountsHolder>& holder) {
    ctx->saved_data["counts"] = c10::IValue::make_capsule(holder);
    ctx->saved_data["num_tokens"] = probs_TE.size(0);
    ctx->saved_data["dtype"] = probs_TE.scalar_type();
    return weights_TK;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto holder =
        c10::static_intrusive_pointer_cast<CountsHolder>(ctx->saved_data["counts"].toCapsule());
    const auto& counts = *holder->counts;
    TORCH_CHECK(counts.complete, "load balance: finish_forward() must run before the backward");
    const int64_t num_tokens = ctx->saved_data["num_tokens"].toInt();
    const auto dtype = ctx->saved_data["dtype"].toScalarType();
    const int64_t num_groups = counts.counts_GE.size(0);
    const int64_t num_experts = counts.counts_GE.size(1);
    const int64_t group_tokens = num_groups > 0 ? num_tokens / num_groups : 0;
    const auto grad_GE = counts.counts_GE.to(dtype).mul(counts.scale);
    const auto grad_TE = grad_GE.unsqueeze(1)
                             .expand({num_groups, group_tokens, num_experts})
                             .reshape({num_tokens, num_experts});
    return {grads[0], grad_TE, at::Tensor()};
  }
};

class InjectRouterZ : public torch::autograd::Function<InjectRouterZ> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& weights_TK,
                            const at::Tensor& logsumexp_T, double scale) {
    ctx->save_for_backward({logsumexp_T});
    ctx->saved_data["scale"] = scale;
    return weights_TK;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const double scale = ctx->saved_data["scale"].toDouble();
    return {grads[0], ctx->get_saved_variables()[0].mul(2.0 * scale), at::Tensor()};
  }
};

}  // namespace

AuxiliaryLosses::AuxiliaryLosses(const MoeOptions& options, int64_t num_layers, int64_t num_experts,
                                 int64_t top_k, parallel::CommunicatorPtr data,
                                 FaultInjection* fault)
    : options_(options.load_balance),
      coef_(options.load_balance.coef.value_or(0.0)),
      router_z_loss_coef_(options.router_z_loss_coef.value_or(0.0)),
      num_layers_(num_layers),
      num_experts_(num_experts),
      top_k_(top_k),
      data_(std::move(data)),
      fault_(fault) {}

bool AuxiliaryLosses::counts_wait_for_all() const {
  return options_.formula == BalanceFormula::kHuggingFace ||
         options_.scope == BalanceScope::kGlobal;
}

int64_t AuxiliaryLosses::tokens_per_group() const {
  if (counts_wait_for_all()) {
    return shape_.num_tokens();
  }
  return options_.scope == BalanceScope::kSequence
             ? shape_.sequence_length
             : shape_.micro_batch_sequences * shape_.sequence_length;
}

// d loss / d probs[t, e] = coef * this * n_e; the value of a group is this * n_e * sum_t probs[t,
// e].
double AuxiliaryLosses::gradient_scale() const {
  const auto num_experts = static_cast<double>(num_experts_);
  const auto num_layers = static_cast<double>(num_layers_);
  const auto all_tokens = static_cast<double>(shape_.num_tokens());
  if (options_.formula == BalanceFormula::kHuggingFace) {
    return num_experts / (num_layers * all_tokens * num_layers * all_tokens);
  }
  const auto group_tokens = static_cast<double>(tokens_per_group());
  const double num_groups = all_tokens / group_tokens;
  return num_experts / (static_cast<double>(top_k_) * group_tokens * group_tokens) /
         (num_groups * num_layers);
}

// d loss / d logsumexp[t] = coef * this * 2 logsumexp[t].
double AuxiliaryLosses::router_z_scale() const {
  return 1.0 / (static_cast<double>(num_layers_) * static_cast<double>(shape_.num_tokens()));
}

void AuxiliaryLosses::begin_step(const StepShape& shape) {
  shape_ = shape;
  injections_.clear();
  waiting_.clear();
}

// What the backward of a layer will read: these counts, or those of all ranks and micro-batches.
std::shared_ptr<BalanceCounts> AuxiliaryLosses::add_counts(const at::Tensor& counts_GE,
                                                           int64_t layer_idx) {
  if (!counts_wait_for_all()) {
    auto counts = std::make_shared<BalanceCounts>();
    counts->counts_GE = counts_GE;
    if (coef_ != 0.0 && fault_ != nullptr && previous_counts_GE_.defined() &&
        fault_->fire(FaultInjection::Kind::stale_count)) {
      counts->counts_GE = previous_counts_GE_;
    }
    previous_counts_GE_ = counts_GE;
    return counts;
  }
  const size_t idx = options_.formula == BalanceFormula::kHuggingFace ? 0 : layer_idx;
  while (waiting_.size() <= idx) {
    waiting_.push_back(std::make_shared<BalanceCounts>());
    waiting_.back()->counts_GE = at::zeros({1, num_experts_}, counts_GE.options());
    waiting_.back()->complete = false;
  }
  TORCH_CHECK(!waiting_[idx]->complete,
              "load balance: scope global and formula hf need every forward"
              " of a step before its first backward");
  waiting_[idx]->counts_GE.add_(counts_GE.sum(0, /*keepdim=*/true));
  return waiting_[idx];
}

at::Tensor AuxiliaryLosses::inject(const kernels::RoutedTokens& routed, int64_t layer_idx) {
  const int64_t num_tokens = routed.expert_idx_TK.size(0);
  const int64_t group_tokens =
      counts_wait_for_all() ? std::max<int64_t>(num_tokens, 1) : tokens_per_group();
  const auto counts = add_counts(
      kernels::count_choices(routed.expert_idx_TK, num_experts_, group_tokens), layer_idx);
  counts->scale = coef_ * gradient_scale();
  if (coef_ != 0.0 && fault_ != nullptr && fault_->fire(FaultInjection::Kind::double_aux)) {
    counts->scale *= 2.0;
  }
  injections_.push_back(
      {counts, kernels::auxiliary_sums(routed.probs_TE, routed.logsumexp_T, group_tokens)});

  auto weights_TK = routed.weights_TK;
  if (coef_ != 0.0) {
    weights_TK = InjectLoadBalance::apply(weights_TK, routed.probs_TE,
                                          c10::make_intrusive<CountsHolder>(counts));
  }
  if (router_z_loss_coef_ != 0.0) {
    weights_TK = InjectRouterZ::apply(weights_TK, routed.logsumexp_T,
                                      router_z_loss_coef_ * router_z_scale());
  }
  return weights_TK;
}

void AuxiliaryLosses::finish_forward() {
  if (waiting_.empty()) {
    return;
  }
  std::vector<at::Tensor> local;
  for (const auto& counts : waiting_) {
    local.push_back(counts->counts_GE);
  }
  const auto counts_LE = at::cat(local);
  data_->all_reduce_sum(counts_LE)->wait();
  const bool stale =
      coef_ != 0.0 && fault_ != nullptr && fault_->fire(FaultInjection::Kind::stale_count);
  for (size_t i = 0; i < waiting_.size(); ++i) {
    const auto all = counts_LE.narrow(0, static_cast<int64_t>(i), 1);
    // The previous group's counts: those of the previous step, none at the first.
    waiting_[i]->counts_GE = !stale ? all
                             : previous_counts_GE_.defined()
                                 ? previous_counts_GE_.narrow(0, static_cast<int64_t>(i), 1)
                                 : at::zeros_like(all);
    waiting_[i]->complete = true;
  }
  previous_counts_GE_ = counts_LE;
}

AuxiliaryValues AuxiliaryLosses::local_values() const {
  if (injections_.empty()) {
    return {};
  }
  const auto sums = at::zeros({2}, injections_.front().sums.prob_sums_GE.options());
  for (const auto& injection : injections_) {
    // For waiting counts the groups of micro-batches share one row of counts.
    const auto products = injection.counts->counts_GE.to(at::kDouble) * injection.sums.prob_sums_GE;
    sums[0].add_(products.sum());
    sums[1].add_(injection.sums.logsumexp_squares_G.sum());
  }
  const auto on_host = sums.to(at::kCPU);
  return {.load_balance = gradient_scale() * on_host[0].item<double>(),
          .router_z = router_z_scale() * on_host[1].item<double>()};
}

}  // namespace moesaic::moe
