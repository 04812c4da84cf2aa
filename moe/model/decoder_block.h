// One pre-norm decoder block: attention, then the Mixture-of-Experts layer, each with a residual.
#pragma once

#include <string>
#include <vector>

#include "moe/model/attention.h"
#include "moe/model/model_piece.h"
#include "moe/moe_layer.h"

namespace moesaic::moe {

class DecoderBlock : public ModelPiece {
 public:
  DecoderBlock(int64_t block_idx, const ModelConfig& config, RouterOptions router,
               ExpertsOptions experts, std::shared_ptr<TokenDispatcher> dispatcher);

  std::vector<DeclaredParameter> declare() override;
  at::Tensor forward(const at::Tensor& x_TD, const LayerContext& context) override;

 private:
  int64_t block_idx_;
  ModelConfig config_;
  Attention attention_;
  MoeLayer mlp_;
  at::Tensor input_norm_D_;
  at::Tensor post_attention_norm_D_;
};

}  // namespace moesaic::moe
