// A language model is a list of pieces (embedding, blocks, head), so that a pipeline stage is a
// slice of it. Shapes: T tokens of a micro-batch, D model width.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "moe/layer_context.h"
#include "moe/parameter.h"

namespace moesaic::moe {

class ModelPiece {
 public:
  virtual ~ModelPiece() = default;
  /// The parameters of this piece on this rank; the store gives them memory afterwards.
  virtual std::vector<DeclaredParameter> declare() = 0;
  /// The embedding takes token ids int64 [T] and returns hidden states [T, D]; a block maps hidden
  /// states to hidden states; the head returns the normalised hidden states.
  virtual at::Tensor forward(const at::Tensor& input, const LayerContext& context) = 0;
};

}  // namespace moesaic::moe
