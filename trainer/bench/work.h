// How much work each measured thing is: floating-point operations that count, and the least bytes
// that must move.
//
// Least bytes: every input is read once and every output written once, whatever the caches and the
// algorithm; nothing that lives only inside an operator counts. So GB/s are a lower bound of what
// the memory really moved, and a fraction of the copy can only be too small. Only what the kernel
// must see counts: an index that could come from either of two tables counts once.
// Operations: a multiplication and an addition each count one, so a product of an [m, k] and a
// [k, n] matrix is 2 m k n; the rest of an operator (an exponential, a norm) does not count.
// Shape letters: kernels/ops.h; b the bytes of an element of dtype, a those of max(float32, dtype).
#pragma once

#include "moe/model/model_config.h"
#include "trainer/bench/bench_shape.h"

namespace moesaic::trainer {

/// Which yardstick a line is held against.
enum class Bound { kCompute, kMemory };

struct Work {
  double flops = 0.0;
  double bytes = 0.0;
};

/// An operator forward, and its backward given the gradients of its outputs.
struct OperatorWork {
  Work forward;
  Work backward;
};

/// Forward: logits T E a in; probabilities T E a, weights T K a and ids 8 T K out.
/// Backward (of weights and probabilities): probabilities and their gradients 2 T E a, gradients of
/// the weights T K a and ids 8 T K in; gradients of the logits T E a out.
OperatorWork route_tokens_work(const BenchShape& shape);

/// Forward: ids 8 T K in; source and row of every choice 16 T K, rows and counts of an expert 16 E
/// out. Weights are not read: nothing is dropped. No backward.
Work plan_dispatch_work(const BenchShape& shape);

/// Forward: each token once, T D b, and one index a row, 8 R, in; R D b out.
/// Backward: R D b and 8 R in; T D b out.
OperatorWork permute_tokens_work(const BenchShape& shape);

/// Forward: R D b, weights T K a and one index a choice 8 T K in; T D b out.
/// Backward: the gradients T D b, the rows again (for the gate) R D b, T K a and 8 T K in;
/// gradients of the rows R D b and of the weights T K a out.
OperatorWork unpermute_tokens_work(const BenchShape& shape);

/// Forward and backward: R D b in and out, and `num_chunks` counts of 8 bytes.
OperatorWork sort_chunks_work(const BenchShape& shape, int64_t num_chunks);

/// Of [R, I] rows with [E, O, I] weights. Forward: 2 R I O operations; R I b + E O I b in, R O b
/// out. Backward, both gradients: twice the operations; R O b + R I b + E O I b in; R I b and, in
/// max(float32, dtype), added to what is there, 2 E O I a out.
OperatorWork grouped_gemm_work(const BenchShape& shape, int64_t in_width, int64_t out_width);

/// Forward: 2 R F b in, R F b out. Backward: 3 R F b in, 2 R F b out.
OperatorWork gated_activation_work(const BenchShape& shape);

/// Forward alone: 2 T D V operations; T D b + V D b + 8 T in. `backward` is forward and backward
/// together (the forward computes the gradients): 6 T D V; the same in, T D b + V D b out.
OperatorWork linear_cross_entropy_work(const BenchShape& shape);

/// One MoE layer, forward and backward. 18 R D F operations: three [D, F] matrices an expert, three
/// products of each (value, gradient of the rows, gradient of the weight). The router's 6 T D E do
/// not count, as they do not in the published fractions of other programs.
/// Bytes: x and the gradient of the result 2 T D b, weights (3 E F D + E D) b in; result and
/// gradient of x 2 T D b, gradients of the weights (3 E F D + E D) a out.
Work layer_work(const BenchShape& shape);

/// A training step of `tokens` tokens in sequences of `sequence_length`: 6 operations a token for
/// each weight that it meets in a product (2001.08361, eq. 2.2: the embedding is a look-up and
/// counts none), and for the causal attention 6 (S + 1) D_q a layer and token: 2 products, forward
/// once and backward twice, of 2 D_q operations with each of the (S + 1) / 2 positions it sees on
/// average. Choices that a capacity drops count as if they were computed.
/// Bytes: weights, gradients and both moments, of element_bytes each, read and written.
Work step_work(const moe::ModelConfig& model, int64_t tokens, int64_t sequence_length,
               int64_t element_bytes);

/// A product of two [n, n] matrices: 2 n^3 operations, 3 n^2 b bytes.
Work square_product_work(int64_t size, c10::ScalarType dtype);

/// A copy: read and written once. (A CPU may also read what it is about to overwrite.)
Work copy_work(int64_t bytes);

}  // namespace moesaic::trainer
