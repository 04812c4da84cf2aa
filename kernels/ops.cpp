// The schemas of all operators, and the typed wrappers: they check shapes and dtypes once, call
// through the dispatcher and name what comes back.
#include "kernels/ops.h"

#include <ATen/OpMathType.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <torch/library.h>

#include <array>
#include <cmath>
#include <limits>

#include "kernels/dispatched.h"

// Operators called *_backward, *_gradient or *_with_gradients have no autograd of their own.
TORCH_LIBRARY(moesaic, m) {
  m.def(
      "route_tokens(Tensor logits, int top_k, bool softmax_before_top_k, bool norm_topk_prob)"
      " -> (Tensor expert_idx, Tensor weights, Tensor probs, Tensor logsumexp)");
  m.def(
      "route_tokens_backward(Tensor? grad_weights, Tensor? grad_probs, Tensor? grad_logsumexp,"
      " Tensor expert_idx, Tensor weights, Tensor probs, bool softmax_before_top_k,"
      " bool norm_topk_prob) -> Tensor");
  m.def(
      "plan_dispatch(Tensor expert_idx, Tensor weights, int num_experts, int tokens_per_group,"
      " int? capacity, bool drop_by_probability)"
      " -> (Tensor source, Tensor row_of_choice, Tensor counts, Tensor num_rows)");
  m.def("count_choices(Tensor expert_idx, int num_experts, int tokens_per_group) -> Tensor");
  m.def(
      "auxiliary_sums(Tensor probs, Tensor logsumexp, int tokens_per_group)"
      " -> (Tensor prob_sums, Tensor logsumexp_squares)");
  m.def("permute_tokens(Tensor x, Tensor source, Tensor row_of_choice) -> Tensor");
  m.def("unpermute_tokens(Tensor rows, Tensor? weights, Tensor row_of_choice) -> Tensor");
  m.def(
      "unpermute_tokens_backward(Tensor grad_out, Tensor rows, Tensor weights,"
      " Tensor row_of_choice, bool rows_wanted, bool weights_wanted)"
      " -> (Tensor grad_rows, Tensor grad_weights)");
  m.def("sort_chunks(Tensor rows, Tensor counts) -> Tensor");
  m.def(
      "grouped_gemm(Tensor rows, Tensor weight, Tensor num_rows,"
      " Tensor? weight_gradient_destination) -> Tensor");
  m.def("grouped_gemm_weight_gradient(Tensor grad_out, Tensor rows, Tensor num_rows) -> Tensor");
  m.def(
      "grouped_gemm_weight_gradient_(Tensor(a!) destination, Tensor grad_out, Tensor rows,"
      " Tensor num_rows) -> ()");
  m.def("gated_activation(Tensor gate_up) -> Tensor");
  m.def("gated_activation_backward(Tensor grad_out, Tensor gate_up) -> Tensor");
  m.def("linear_cross_entropy(Tensor x, Tensor weight, Tensor targets) -> Tensor");
  m.def(
      "linear_cross_entropy_with_gradients(Tensor x, Tensor weight, Tensor targets,"
      " bool x_wanted, bool weight_wanted)"
      " -> (Tensor loss, Tensor grad_x, Tensor grad_weight)");
}

namespace moesaic::kernels {
namespace {

void check_matrix(const at::Tensor& tensor, const char* op, const char* name) {
  TORCH_CHECK(tensor.dim() == 2, op, ": ", name, " must have two dimensions, got ", tensor.sizes());
}

void check_int64(const at::Tensor& tensor, const char* op, const char* name) {
  TORCH_CHECK(tensor.scalar_type() == at::kLong, op, ": ", name, " must be int64, got ",
              tensor.scalar_type());
}

void check_floating(const at::Tensor& tensor, const char* op, const char* name) {
  TORCH_CHECK(at::isFloatingType(tensor.scalar_type()), op, ": ", name,
              " must be floating point, got ", tensor.scalar_type());
}

void check_plan(const DispatchPlan& plan, const char* op) {
  check_int64(plan.source_R, op, "source_R");
  check_int64(plan.row_of_choice_TK, op, "row_of_choice_TK");
  check_matrix(plan.row_of_choice_TK, op, "row_of_choice_TK");
  TORCH_CHECK(plan.source_R.dim() == 1 && plan.source_R.numel() <= plan.row_of_choice_TK.numel(),
              op, ": a plan of ", plan.row_of_choice_TK.sizes(),
              " choices cannot have rows of shape ", plan.source_R.sizes());
}

// Lengths of runs that make up num_rows rows.
void check_counts(const at::Tensor& counts, int64_t num_rows, const char* op, const char* name) {
  check_int64(counts, op, name);
  TORCH_CHECK(counts.device().type() == at::kCPU, op, ": ", name, " must be on the CPU, is on ",
              counts.device());
  const auto flat = counts.contiguous().flatten();
  int64_t total = 0;
  for (int64_t i = 0; i < flat.numel(); ++i) {
    const int64_t count = flat.const_data_ptr<int64_t>()[i];
    TORCH_CHECK(count >= 0 && count <= num_rows, op, ": ", name, "[", i, "] is ", count, " of ",
                num_rows, " rows");
    total += count;
  }
  TORCH_CHECK(total == num_rows, op, ": ", name, " sums to ", total, ", but there are ", num_rows,
              " rows");
}

void check_num_rows(const at::Tensor& num_rows_e, int64_t num_experts, int64_t num_rows,
                    const char* op) {
  TORCH_CHECK(num_rows_e.dim() == 1 && num_rows_e.size(0) == num_experts, op, ": num_rows_e is ",
              num_rows_e.sizes(), " for ", num_experts, " experts");
  check_counts(num_rows_e, num_rows, op, "num_rows_e");
}

void check_destination(const at::Tensor& destination_eOI, int64_t out_width,
                       const at::Tensor& rows_RI, int64_t num_experts, const char* op) {
  const auto expected = std::array<int64_t, 3>{num_experts, out_width, rows_RI.size(1)};
  TORCH_CHECK(destination_eOI.sizes() == at::IntArrayRef(expected), op,
              ": the destination of the weight gradient must be ", at::IntArrayRef(expected),
              ", got ", destination_eOI.sizes());
  const auto dtype = destination_eOI.scalar_type();
  TORCH_CHECK(dtype == rows_RI.scalar_type() || dtype == at::toOpMathType(rows_RI.scalar_type()),
              op, ": the destination of the weight gradient is ", dtype, " for rows of ",
              rows_RI.scalar_type());
}

}  // namespace

RoutedTokens route_tokens(const at::Tensor& logits_TE, const RouteOptions& options) {
  check_matrix(logits_TE, "route_tokens", "logits_TE");
  check_floating(logits_TE, "route_tokens", "logits_TE");
  const int64_t num_experts = logits_TE.size(1);
  TORCH_CHECK(options.top_k >= 1 && options.top_k <= num_experts,
              "route_tokens: top_k must be in [1, ", num_experts, "], got ", options.top_k);
  // Of one expert alone the weight is one however it is made: a dense model.
  TORCH_CHECK(options.top_k > 1 || num_experts == 1 ||
                  (options.softmax_before_top_k && !options.norm_topk_prob),
              "route_tokens: top_k = 1 needs the softmax before top-k and no norm_topk_prob: the"
              " weight would be the constant one and the router would get no gradient");
  auto [expert_idx_TK, weights_TK, probs_TE, logsumexp_T] = dispatched::route_tokens(
      logits_TE, options.top_k, options.softmax_before_top_k, options.norm_topk_prob);
  return {expert_idx_TK, weights_TK, probs_TE, logsumexp_T};
}

int64_t expert_capacity(double factor, int64_t tokens_per_group, int64_t top_k,
                        int64_t num_experts) {
  TORCH_CHECK(std::isfinite(factor) && factor > 0, "expert_capacity: factor must be positive, got ",
              factor);
  TORCH_CHECK(tokens_per_group >= 0 && top_k >= 1 && num_experts >= 1,
              "expert_capacity: impossible sizes: tokens_per_group ", tokens_per_group, ", top_k ",
              top_k, ", num_experts ", num_experts);
  const long double share =
      static_cast<long double>(factor) * tokens_per_group * top_k / num_experts;
  TORCH_CHECK(share < 0x1p62L, "expert_capacity: factor ", factor, " gives more than 2^62 choices");
  // 1.1 is stored as a little more than 1.1: without this, ceil would find 12 in 1.1 * 10.
  const long double nearest = std::round(share);
  const long double rounding_error = 4 * std::numeric_limits<double>::epsilon() * share;
  return static_cast<int64_t>(std::abs(share - nearest) <= rounding_error ? nearest
                                                                          : std::ceil(share));
}

DispatchPlan plan_dispatch(const at::Tensor& expert_idx_TK, const at::Tensor& weights_TK,
                           int64_t num_experts, int64_t tokens_per_group,
                           const CapacityOptions& capacity) {
  check_matrix(expert_idx_TK, "plan_dispatch", "expert_idx_TK");
  check_int64(expert_idx_TK, "plan_dispatch", "expert_idx_TK");
  const int64_t num_tokens = expert_idx_TK.size(0);
  const int64_t top_k = expert_idx_TK.size(1);
  TORCH_CHECK(num_experts >= 1 && top_k >= 1, "plan_dispatch: ", num_experts, " experts and ",
              top_k, " choices a token");
  TORCH_CHECK(tokens_per_group >= 1 || (tokens_per_group == 0 && num_tokens == 0),
              "plan_dispatch: tokens_per_group must be positive, got ", tokens_per_group);
  TORCH_CHECK(num_tokens == 0 || num_tokens % tokens_per_group == 0, "plan_dispatch: ", num_tokens,
              " tokens are not a multiple of tokens_per_group = ", tokens_per_group);
  const bool drop_by_probability =
      capacity.factor.has_value() && capacity.policy == DropPolicy::kProbability;
  if (drop_by_probability) {
    check_floating(weights_TK, "plan_dispatch", "weights_TK");
    TORCH_CHECK(weights_TK.sizes() == expert_idx_TK.sizes(), "plan_dispatch: weights_TK is ",
                weights_TK.sizes(), " for expert_idx_TK of ", expert_idx_TK.sizes());
  }
  std::optional<int64_t> max_rows;
  if (capacity.factor.has_value()) {
    max_rows = expert_capacity(*capacity.factor, tokens_per_group, top_k, num_experts);
  }
  at::AutoDispatchBelowADInplaceOrView guard;  // integers come out: there is nothing to record
  auto [source_R, row_of_choice_TK, counts_GE, num_rows_E] = dispatched::plan_dispatch(
      expert_idx_TK, weights_TK, num_experts, tokens_per_group, max_rows, drop_by_probability);
  return {source_R, row_of_choice_TK, counts_GE, num_rows_E};
}

at::Tensor count_choices(const at::Tensor& expert_idx_TK, int64_t num_experts,
                         int64_t tokens_per_group) {
  check_matrix(expert_idx_TK, "count_choices", "expert_idx_TK");
  check_int64(expert_idx_TK, "count_choices", "expert_idx_TK");
  TORCH_CHECK(num_experts >= 1 && expert_idx_TK.size(1) >= 1, "count_choices: ", num_experts,
              " experts and ", expert_idx_TK.size(1), " choices a token");
  TORCH_CHECK(tokens_per_group >= 1 && expert_idx_TK.size(0) % tokens_per_group == 0,
              "count_choices: ", expert_idx_TK.size(0),
              " tokens are not a multiple of tokens_per_group = ", tokens_per_group);
  at::AutoDispatchBelowADInplaceOrView guard;
  return dispatched::count_choices(expert_idx_TK, num_experts, tokens_per_group);
}

AuxiliarySums auxiliary_sums(const at::Tensor& probs_TE, const at::Tensor& logsumexp_T,
                             int64_t tokens_per_group) {
  check_matrix(probs_TE, "auxiliary_sums", "probs_TE");
  TORCH_CHECK(probs_TE.scalar_type() == at::kFloat || probs_TE.scalar_type() == at::kDouble,
              "auxiliary_sums: probs_TE must be float32 or float64, got ", probs_TE.scalar_type());
  TORCH_CHECK(logsumexp_T.dim() == 1 && logsumexp_T.size(0) == probs_TE.size(0) &&
                  logsumexp_T.scalar_type() == probs_TE.scalar_type(),
              "auxiliary_sums: logsumexp_T is ", logsumexp_T.scalar_type(), " ",
              logsumexp_T.sizes(), " for probs_TE of ", probs_TE.scalar_type(), " ",
              probs_TE.sizes());
  TORCH_CHECK(tokens_per_group >= 1 && probs_TE.size(0) % tokens_per_group == 0,
              "auxiliary_sums: ", probs_TE.size(0),
              " tokens are not a multiple of tokens_per_group = ", tokens_per_group);
  at::AutoDispatchBelowADInplaceOrView guard;
  auto [prob_sums_GE, logsumexp_squares_G] =
      dispatched::auxiliary_sums(probs_TE, logsumexp_T, tokens_per_group);
  return {prob_sums_GE, logsumexp_squares_G};
}

at::Tensor permute_tokens(const at::Tensor& x_TD, const DispatchPlan& plan) {
  check_matrix(x_TD, "permute_tokens", "x_TD");
  check_plan(plan, "permute_tokens");
  TORCH_CHECK(x_TD.size(0) == plan.row_of_choice_TK.size(0), "permute_tokens: the plan is for ",
              plan.row_of_choice_TK.size(0), " tokens, x_TD has ", x_TD.size(0));
  return dispatched::permute_tokens(x_TD, plan.source_R, plan.row_of_choice_TK);
}

at::Tensor unpermute_tokens(const at::Tensor& rows_RD, const at::Tensor& weights_TK,
                            const DispatchPlan& plan) {
  check_matrix(rows_RD, "unpermute_tokens", "rows_RD");
  check_floating(rows_RD, "unpermute_tokens", "rows_RD");
  check_plan(plan, "unpermute_tokens");
  TORCH_CHECK(rows_RD.size(0) == plan.source_R.size(0), "unpermute_tokens: the plan has ",
              plan.source_R.size(0), " rows, rows_RD has ", rows_RD.size(0));
  TORCH_CHECK(weights_TK.sizes() == plan.row_of_choice_TK.sizes(),
              "unpermute_tokens: weights_TK is ", weights_TK.sizes(), " for a plan of ",
              plan.row_of_choice_TK.sizes());
  TORCH_CHECK(weights_TK.scalar_type() == at::toOpMathType(rows_RD.scalar_type()),
              "unpermute_tokens: weights_TK must be ", at::toOpMathType(rows_RD.scalar_type()),
              " for rows of ", rows_RD.scalar_type(), ", got ", weights_TK.scalar_type());
  return dispatched::unpermute_tokens(rows_RD, weights_TK, plan.row_of_choice_TK);
}

at::Tensor sort_chunks(const at::Tensor& rows_RD, const at::Tensor& counts_AB) {
  check_matrix(rows_RD, "sort_chunks", "rows_RD");
  check_matrix(counts_AB, "sort_chunks", "counts_AB");
  check_counts(counts_AB, rows_RD.size(0), "sort_chunks", "counts_AB");
  return dispatched::sort_chunks(rows_RD, counts_AB);
}

at::Tensor grouped_gemm(const at::Tensor& rows_RI, const at::Tensor& weight_eOI,
                        const at::Tensor& num_rows_e,
                        const std::optional<at::Tensor>& weight_gradient_destination_eOI) {
  check_matrix(rows_RI, "grouped_gemm", "rows_RI");
  check_floating(rows_RI, "grouped_gemm", "rows_RI");
  TORCH_CHECK(weight_eOI.dim() == 3 && weight_eOI.size(2) == rows_RI.size(1),
              "grouped_gemm: weight_eOI is ", weight_eOI.sizes(), " for rows_RI of ",
              rows_RI.sizes());
  TORCH_CHECK(weight_eOI.scalar_type() == rows_RI.scalar_type(), "grouped_gemm: weight_eOI is ",
              weight_eOI.scalar_type(), ", rows_RI ", rows_RI.scalar_type());
  check_num_rows(num_rows_e, weight_eOI.size(0), rows_RI.size(0), "grouped_gemm");
  if (weight_gradient_destination_eOI.has_value()) {
    check_destination(*weight_gradient_destination_eOI, weight_eOI.size(1), rows_RI,
                      weight_eOI.size(0), "grouped_gemm");
  }
  return dispatched::grouped_gemm(rows_RI, weight_eOI, num_rows_e, weight_gradient_destination_eOI);
}

void grouped_gemm_weight_gradient_(const at::Tensor& destination_eOI, const at::Tensor& grad_out_RO,
                                   const at::Tensor& rows_RI, const at::Tensor& num_rows_e) {
  const char* op = "grouped_gemm_weight_gradient_";
  check_matrix(grad_out_RO, op, "grad_out_RO");
  check_matrix(rows_RI, op, "rows_RI");
  TORCH_CHECK(grad_out_RO.scalar_type() == rows_RI.scalar_type(), op, ": grad_out_RO is ",
              grad_out_RO.scalar_type(), ", rows_RI ", rows_RI.scalar_type());
  TORCH_CHECK(grad_out_RO.size(0) == rows_RI.size(0), op, ": grad_out_RO is ", grad_out_RO.sizes(),
              " for rows_RI of ", rows_RI.sizes());
  check_destination(destination_eOI, grad_out_RO.size(1), rows_RI, num_rows_e.size(0), op);
  check_num_rows(num_rows_e, destination_eOI.size(0), rows_RI.size(0), op);
  at::AutoDispatchBelowADInplaceOrView guard;
  auto destination = destination_eOI;
  dispatched::grouped_gemm_weight_gradient_(destination, grad_out_RO, rows_RI, num_rows_e);
}

at::Tensor gated_activation(const at::Tensor& gate_up_R2F) {
  check_matrix(gate_up_R2F, "gated_activation", "gate_up_R2F");
  check_floating(gate_up_R2F, "gated_activation", "gate_up_R2F");
  TORCH_CHECK(gate_up_R2F.size(1) % 2 == 0,
              "gated_activation: the last dimension is [gate | up] and must be even, got ",
              gate_up_R2F.sizes());
  return dispatched::gated_activation(gate_up_R2F);
}

at::Tensor linear_cross_entropy(const at::Tensor& x_TD, const at::Tensor& weight_VD,
                                const at::Tensor& targets_T) {
  check_matrix(x_TD, "linear_cross_entropy", "x_TD");
  check_floating(x_TD, "linear_cross_entropy", "x_TD");
  check_matrix(weight_VD, "linear_cross_entropy", "weight_VD");
  check_int64(targets_T, "linear_cross_entropy", "targets_T");
  TORCH_CHECK(weight_VD.scalar_type() == x_TD.scalar_type(), "linear_cross_entropy: weight_VD is ",
              weight_VD.scalar_type(), ", x_TD ", x_TD.scalar_type());
  TORCH_CHECK(weight_VD.size(1) == x_TD.size(1), "linear_cross_entropy: weight_VD is ",
              weight_VD.sizes(), " for x_TD of ", x_TD.sizes());
  TORCH_CHECK(targets_T.dim() == 1 && targets_T.size(0) == x_TD.size(0),
              "linear_cross_entropy: targets_T is ", targets_T.sizes(), " for x_TD of ",
              x_TD.sizes());
  return dispatched::linear_cross_entropy(x_TD, weight_VD, targets_T);
}

}  // namespace moesaic::kernels
