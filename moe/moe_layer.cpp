#include "moe/moe_layer.h"

namespace moesaic::moe {

std::vector<DeclaredParameter> MoeLayer::declare(const std::string& prefix,
                                                 const std::string& hub_prefix) {
  auto parameters = router_.declare(prefix, hub_prefix + "gate.weight");
  for (auto& parameter : experts_.declare(prefix, hub_prefix + "experts.")) {
    parameters.push_back(std::move(parameter));
  }
  return parameters;
}

at::Tensor MoeLayer::operator()(const at::Tensor& x_TD, const LayerContext& context) const {
  const auto routing = router_(x_TD, context);
  const auto dispatched = dispatcher_->dispatch(x_TD, routing);
  const auto y_RD = experts_(dispatched.rows_RD, dispatched.num_rows_e);
  return dispatcher_->combine(y_RD, routing, dispatched);
}

}  // namespace moesaic::moe
