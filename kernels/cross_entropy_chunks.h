// linear_cross_entropy in chunks of tokens, for any device: one buffer of logits, in which a chunk
// becomes its loss and the gradient of its logits.
//
// Shape letters: kernels/ops.h; t: the tokens of a chunk.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <tuple>

namespace moesaic::kernels {

/// What a device does with a chunk, and how large it wants one.
struct CrossEntropyChunks {
  int64_t logits_bytes = 0;  ///< of a chunk, about
  /// Fewer would read the head and its gradient from memory once for little work.
  int64_t min_tokens = 1;
  /// Whether a target of a chunk is counted; a chunk without any is left out. Null: every chunk is
  /// looked at, where finding out would make the host wait.
  bool (*has_counted_target)(const at::Tensor& targets_t) = nullptr;
  /// Returns the sum of -log softmax(logits)[target] over the counted targets, a float64 scalar.
  /// With `gradient` the logits become softmax(logits) - one_hot(target), zero for targets that
  /// are not counted.
  at::Tensor (*chunk_loss)(at::Tensor& logits_tV, const at::Tensor& targets_t,
                           bool gradient) = nullptr;
};

/// dispatched::linear_cross_entropy_with_gradients. Every target is in [0, V) or not counted.
std::tuple<at::Tensor, at::Tensor, at::Tensor> cross_entropy_in_chunks(
    const at::Tensor& x_TD, const at::Tensor& weight_VD, const at::Tensor& targets_T, bool x_wanted,
    bool weight_wanted, const CrossEntropyChunks& chunks);

}  // namespace moesaic::kernels
