// The numbers are counted by hand, tensor by tensor.
#include "trainer/bench/work.h"

#include <gtest/gtest.h>

#include "moe/model/families/olmoe.h"

namespace moesaic::trainer {
namespace {

// T 2, D 3, E 4, K 2, F 5, V 7: R 4.
BenchShape small_shape(c10::ScalarType dtype = c10::ScalarType::Float) {
  return {.tokens = 2,
          .hidden_size = 3,
          .num_experts = 4,
          .top_k = 2,
          .intermediate_size = 5,
          .vocab_size = 7,
          .dtype = dtype};
}

TEST(BenchWork, RoutingOperators) {
  // Logits 8 x 4 in; probabilities 8 x 4, weights 4 x 4, ids 4 x 8, logsumexps 2 x 4 out.
  EXPECT_EQ(route_tokens_work(small_shape()).forward.bytes, 32 + 32 + 16 + 32 + 8);
  // Probabilities and their gradients, gradients of weights and logsumexps, and ids in; gradients
  // of the logits out.
  EXPECT_EQ(route_tokens_work(small_shape()).backward.bytes, 32 + 32 + 16 + 8 + 32 + 32);
  // Ids 4 x 8 in; sources 4 x 8, rows of choices 4 x 8, counts 4 x 8, rows 4 x 8 out.
  EXPECT_EQ(plan_dispatch_work(small_shape()).bytes, 5 * 32);
}

TEST(BenchWork, MovingOperators) {
  // Tokens 6 x 4 and indices 4 x 8 in; rows 12 x 4 out; the backward the other way.
  EXPECT_EQ(permute_tokens_work(small_shape()).forward.bytes, 24 + 32 + 48);
  EXPECT_EQ(permute_tokens_work(small_shape()).backward.bytes, 48 + 32 + 24);
  // Rows 48, weights 16 and indices 32 in; 24 out.
  EXPECT_EQ(unpermute_tokens_work(small_shape()).forward.bytes, 48 + 16 + 32 + 24);
  // Gradients 24, rows 48, weights 16, indices 32 in; 48 and 16 out.
  EXPECT_EQ(unpermute_tokens_work(small_shape()).backward.bytes, 24 + 48 + 16 + 32 + 48 + 16);
  // Rows 48 in and out, 6 counts of 8.
  EXPECT_EQ(sort_chunks_work(small_shape(), 6).forward.bytes, 48 + 48 + 48);
  EXPECT_EQ(sort_chunks_work(small_shape(), 6).backward.bytes, 48 + 48 + 48);
}

TEST(BenchWork, ExpertOperators) {
  // gate_up: 4 rows of 3, weights of 10 x 3, twice 4 x 3 x 10 operations.
  const auto gemm = grouped_gemm_work(small_shape(), 3, 10);
  EXPECT_EQ(gemm.forward.flops, 240);
  EXPECT_EQ(gemm.forward.bytes, 4 * (12 + 120 + 40));
  EXPECT_EQ(gemm.backward.flops, 480);
  // Gradients 40, rows 12, weights 120 in; 12 out; 120 read and written.
  EXPECT_EQ(gemm.backward.bytes, 4 * (40 + 12 + 120 + 12 + 240));
  // Rows of 10 in, of 5 out; backward: 5 and 10 in, 10 out.
  EXPECT_EQ(gated_activation_work(small_shape()).forward.bytes, 4 * (40 + 20));
  EXPECT_EQ(gated_activation_work(small_shape()).backward.bytes, 4 * (20 + 40 + 40));
}

TEST(BenchWork, HeadAndYardsticks) {
  const auto head = linear_cross_entropy_work(small_shape());
  EXPECT_EQ(head.forward.flops, 2 * 2 * 3 * 7);
  EXPECT_EQ(head.forward.bytes, 4 * (6 + 21) + 16);
  EXPECT_EQ(head.backward.flops, 3 * 2 * 2 * 3 * 7);
  EXPECT_EQ(head.backward.bytes, 4 * (6 + 21 + 6 + 21) + 16);
  EXPECT_EQ(square_product_work(10, c10::ScalarType::Double).flops, 2000);
  EXPECT_EQ(square_product_work(10, c10::ScalarType::Double).bytes, 2400);
  EXPECT_EQ(copy_work(100).bytes, 200);
}

TEST(BenchWork, ShortTypesAccumulateInFloat32) {
  // bfloat16: logits and weights of routing stay float32, rows are of 2 bytes.
  const auto shape = small_shape(c10::ScalarType::BFloat16);
  EXPECT_EQ(route_tokens_work(shape).forward.bytes, 32 + 32 + 16 + 32 + 8);
  EXPECT_EQ(unpermute_tokens_work(shape).forward.bytes, 24 + 16 + 32 + 12);
  EXPECT_EQ(grouped_gemm_work(shape, 3, 10).backward.bytes, 2 * (40 + 12 + 120 + 12) + 4 * 240);
  EXPECT_EQ(permute_tokens_work(small_shape(c10::ScalarType::Double)).forward.bytes, 48 + 32 + 96);
}

TEST(BenchWork, ALayerIsItsSixProductsTimesThree) {
  // 3 matrices x 3 products x 2 operations x 4 rows x 3 x 5.
  const auto layer = layer_work(small_shape());
  EXPECT_EQ(layer.flops, 1080);
  // 4 x (x, gradient, result, gradient of x) of 6; weights 4 x 45 + 12, and their gradients.
  EXPECT_EQ(layer.bytes, 4 * (4 * 6 + 2 * (180 + 12)));
  EXPECT_DOUBLE_EQ(layer_work(BenchShape()).flops, 77.309411328e9);
}

TEST(BenchWork, AStepCountsWeightsInProductsAndTheCausalScores) {
  moe::ModelConfig model;
  model.vocab_size = 10;
  model.hidden_size = 8;
  model.intermediate_size = 3;
  model.num_hidden_layers = 2;
  model.num_attention_heads = 4;
  model.num_key_value_heads = 2;
  model.num_experts = 6;
  model.num_experts_per_tok = 2;
  // A layer: q 64, k 32, v 32, o 64, router 48, experts 2 x 3 x 24; the head 80.
  const double met = 2 * (64 + 32 + 32 + 64 + 48 + 144) + 80;
  // Position s sees s + 1 positions: 5 * 6 / 2 pairs a sequence of 5; with each, two products of 8
  // forward and twice that backward, 2 operations an element.
  const double pairs = 2 * 15;  // two sequences
  const double scores = 2 * pairs * 3 * 2 * 2 * 8;
  const auto work = step_work(model, /*tokens=*/10, /*sequence_length=*/5, /*element_bytes=*/4);
  EXPECT_DOUBLE_EQ(work.flops, 6 * 10 * met + scores);
  // Every weight of the model, 80 + 80 + 2 (192 + 48 + 6 x 72) and the norms 2 (8 + 8 + 8 + 4) + 8;
  // four states of 4 bytes, read and written.
  const int64_t total = 160 + 2 * (192 + 48 + 432) + 2 * 28 + 8;
  EXPECT_EQ(moe::count_olmoe_parameters(model).total, total);
  EXPECT_DOUBLE_EQ(work.bytes, 32.0 * static_cast<double>(total));
}

}  // namespace
}  // namespace moesaic::trainer
