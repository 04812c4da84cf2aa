// The first and the last piece of a language model.
// Shapes: T tokens, D model width, V vocabulary.
#pragma once

#include <vector>

#include "moe/model/model_config.h"
#include "moe/model/model_piece.h"

namespace moesaic::moe {

/// Token embedding.
class Embedding : public ModelPiece {
 public:
  explicit Embedding(const ModelConfig& config) : config_(config) {}
  std::vector<DeclaredParameter> declare() override;
  at::Tensor forward(const at::Tensor& input_ids_T, const LayerContext& context) override;

  at::Tensor weight_VD;

 private:
  ModelConfig config_;
};

/// Final norm and language-model head.
class Head : public ModelPiece {
 public:
  /// tied_to: the embedding whose weight the head uses, or null. It must outlive the head.
  Head(const ModelConfig& config, const Embedding* tied_to) : config_(config), tied_to_(tied_to) {}
  std::vector<DeclaredParameter> declare() override;
  /// Only the norm; logits and loss differ in what they need afterwards.
  at::Tensor forward(const at::Tensor& x_TD, const LayerContext& context) override;

  /// [T, V]; for parity and generation. Training never makes all logits at once.
  at::Tensor logits(const at::Tensor& normalised_TD) const;
  /// Sum over counted targets of the cross-entropy (kernels::linear_cross_entropy).
  at::Tensor loss_sum(const at::Tensor& normalised_TD, const at::Tensor& targets_T) const;

 private:
  const at::Tensor& weight_VD() const;

  ModelConfig config_;
  const Embedding* tied_to_;
  at::Tensor norm_D_;
  at::Tensor own_weight_VD_;
};

}  // namespace moesaic::moe
