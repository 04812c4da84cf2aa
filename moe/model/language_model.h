// A Mixture-of-Experts language model on one rank: a list of pieces and the parameters in them.
// Shapes: B sequences, S positions, T = B*S tokens, V vocabulary.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <optional>
#include <vector>

#include "moe/model/embedding_and_head.h"
#include "moe/model/micro_batch.h"
#include "moe/model/model_config.h"
#include "moe/model/model_piece.h"
#include "moe/moe_options.h"
#include "parallel/device_mesh.h"
#include "parallel/fault_injection.h"

namespace moesaic::moe {

/// What building a model needs beside its config.
struct ModelBuild {
  const parallel::DeviceMesh& mesh;
  MoeOptions moe;
  at::ScalarType dtype = at::kFloat;
  at::Device device = at::kCPU;  ///< of the parameters, and so of all computation
  uint64_t seed = 0;             ///< of the initial weights and of force_balance
  bool force_balance = false;    ///< debug.force_balance
  std::shared_ptr<parallel::FaultInjection> fault;  ///< may be null
};

class LanguageModel {
 public:
  LanguageModel(std::vector<std::unique_ptr<ModelPiece>> pieces, const ModelConfig& config,
                const ModelBuild& build);

  /// One forward of a micro-batch: the sum of the cross-entropies of its counted targets, a scalar
  /// to call backward() on. `context.training` decides about capacity and auxiliary terms. Token
  /// ids may be on any device: they are brought to the parameters'.
  at::Tensor loss_sum(const MicroBatch& micro_batch, LayerContext context);
  /// Logits [B, S, V] of token ids int64 [B, S].
  at::Tensor logits(const at::Tensor& input_ids_BS, LayerContext context);

  parallel::ParameterStore& store() { return *store_; }
  const std::vector<DeclaredParameter>& parameters() const { return parameters_; }
  const ModelConfig& config() const { return config_; }

 private:
  at::Tensor hidden_states(const at::Tensor& input_ids_BS, LayerContext& context);
  void initialize(uint64_t seed);

  ModelConfig config_;
  at::Device device_;
  std::vector<std::unique_ptr<ModelPiece>> pieces_;
  Head* head_;
  std::vector<DeclaredParameter> parameters_;
  std::unique_ptr<parallel::ParameterStore> store_;
};

}  // namespace moesaic::moe
