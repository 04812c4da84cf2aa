// The Mixture-of-Experts layer: router, dispatcher, experts.
// Shapes: T tokens, D model width.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <vector>

#include "moe/experts.h"
#include "moe/router.h"
#include "moe/token_dispatcher.h"

namespace moesaic::moe {

class MoeLayer {
 public:
  MoeLayer(RouterOptions router, ExpertsOptions experts,
           std::shared_ptr<TokenDispatcher> dispatcher)
      : router_(std::move(router)), experts_(experts), dispatcher_(std::move(dispatcher)) {}

  /// hub_prefix: e.g. "model.layers.0.mlp.".
  std::vector<DeclaredParameter> declare(const std::string& prefix, const std::string& hub_prefix);

  /// x_TD: the tokens of a micro-batch. Collective over the expert ranks, whatever T is.
  at::Tensor operator()(const at::Tensor& x_TD, const LayerContext& context) const;

 private:
  Router router_;
  Experts experts_;
  std::shared_ptr<TokenDispatcher> dispatcher_;
};

}  // namespace moesaic::moe
