#include "trainer/bench/work.h"

#include "moe/model/families/olmoe.h"

namespace moesaic::trainer {
namespace {

constexpr double kIndexBytes = 8;  // int64

/// The sizes as numbers that do not overflow, with the letters of the header.
struct Sizes {
  explicit Sizes(const BenchShape& shape)
      : T(static_cast<double>(shape.tokens)),
        D(static_cast<double>(shape.hidden_size)),
        E(static_cast<double>(shape.num_experts)),
        K(static_cast<double>(shape.top_k)),
        F(static_cast<double>(shape.intermediate_size)),
        V(static_cast<double>(shape.vocab_size)),
        R(T * K),
        b(static_cast<double>(c10::elementSize(shape.dtype))),
        a(static_cast<double>(c10::elementSize(accumulation_dtype(shape.dtype)))) {}
  double T, D, E, K, F, V, R;
  double b, a;
};

}  // namespace

OperatorWork route_tokens_work(const BenchShape& shape) {
  const Sizes n(shape);
  const double choices = n.T * n.K * (n.a + kIndexBytes);
  const double logsumexps = n.T * n.a;
  return {.forward = {.bytes = 2 * n.T * n.E * n.a + choices + logsumexps},
          .backward = {.bytes = 3 * n.T * n.E * n.a + choices + logsumexps}};
}

Work plan_dispatch_work(const BenchShape& shape) {
  const Sizes n(shape);
  return {.bytes = kIndexBytes * (3 * n.T * n.K + 2 * n.E)};
}

OperatorWork permute_tokens_work(const BenchShape& shape) {
  const Sizes n(shape);
  const Work work = {.bytes = (n.T + n.R) * n.D * n.b + kIndexBytes * n.R};
  return {work, work};
}

OperatorWork unpermute_tokens_work(const BenchShape& shape) {
  const Sizes n(shape);
  const double indices = kIndexBytes * n.T * n.K;
  const double weights = n.T * n.K * n.a;
  return {.forward = {.bytes = (n.R + n.T) * n.D * n.b + weights + indices},
          .backward = {.bytes = (n.T + 2 * n.R) * n.D * n.b + 2 * weights + indices}};
}

OperatorWork sort_chunks_work(const BenchShape& shape, int64_t num_chunks) {
  const Sizes n(shape);
  const Work work = {.bytes = 2 * n.R * n.D * n.b + kIndexBytes * static_cast<double>(num_chunks)};
  return {work, work};
}

OperatorWork grouped_gemm_work(const BenchShape& shape, int64_t in_width, int64_t out_width) {
  const Sizes n(shape);
  const auto in = static_cast<double>(in_width);
  const auto out = static_cast<double>(out_width);
  const double weights = n.E * out * in;
  const double rows = n.R * (in + out) * n.b;
  return {
      .forward = {2 * n.R * in * out, rows + weights * n.b},
      .backward = {4 * n.R * in * out, rows + n.R * in * n.b + weights * n.b + 2 * weights * n.a}};
}

OperatorWork gated_activation_work(const BenchShape& shape) {
  const Sizes n(shape);
  return {.forward = {.bytes = 3 * n.R * n.F * n.b}, .backward = {.bytes = 5 * n.R * n.F * n.b}};
}

OperatorWork linear_cross_entropy_work(const BenchShape& shape) {
  const Sizes n(shape);
  const double operands = (n.T + n.V) * n.D * n.b;
  const double targets = kIndexBytes * n.T;
  return {.forward = {2 * n.T * n.D * n.V, operands + targets},
          .backward = {6 * n.T * n.D * n.V, 2 * operands + targets}};
}

Work layer_work(const BenchShape& shape) {
  const Sizes n(shape);
  const double weights = 3 * n.E * n.F * n.D + n.E * n.D;
  return {18 * n.R * n.D * n.F, 4 * n.T * n.D * n.b + weights * (n.b + n.a)};
}

Work step_work(const moe::ModelConfig& model, int64_t tokens, int64_t sequence_length,
               int64_t element_bytes) {
  const auto hidden = static_cast<double>(model.hidden_size);
  const auto query = static_cast<double>(model.num_attention_heads * model.head_dim());
  const auto key = static_cast<double>(model.key_value_heads() * model.head_dim());
  const auto attention = 2 * hidden * query + 2 * hidden * key;
  const auto experts = 3.0 * static_cast<double>(model.num_experts_per_tok) * hidden *
                       static_cast<double>(model.intermediate_size);
  const auto router = hidden * static_cast<double>(model.num_experts);
  const auto layers = static_cast<double>(model.num_hidden_layers);
  const auto head = hidden * static_cast<double>(model.vocab_size);
  const double met = layers * (attention + experts + router) + head;
  const double scores = layers * query * static_cast<double>(sequence_length + 1);
  const auto state = static_cast<double>(moe::count_olmoe_parameters(model).total);
  return {6 * static_cast<double>(tokens) * (met + scores),
          4 * 2 * state * static_cast<double>(element_bytes)};
}

Work square_product_work(int64_t size, c10::ScalarType dtype) {
  const auto n = static_cast<double>(size);
  return {2 * n * n * n, 3 * n * n * static_cast<double>(c10::elementSize(dtype))};
}

Work copy_work(int64_t bytes) {
  return {.bytes = 2.0 * static_cast<double>(bytes)};
}

}  // namespace moesaic::trainer
