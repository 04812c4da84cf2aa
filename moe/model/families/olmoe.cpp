#include "moe/model/families/olmoe.h"

#include "moe/model/decoder_block.h"

namespace moesaic::moe {
namespace {

int64_t product(const std::vector<int64_t>& shape) {
  int64_t numel = 1;
  for (const int64_t size : shape) {
    numel *= size;
  }
  return numel;
}

RouterOptions router_options(const ModelConfig& config, const ModelBuild& build,
                             int64_t layer_idx) {
  RouterOptions options;
  options.hidden_size = config.hidden_size;
  options.num_experts = config.num_experts;
  options.route = {.top_k = config.num_experts_per_tok,
                   .softmax_before_top_k = true,
                   .norm_topk_prob = config.norm_topk_prob};
  options.capacity = build.moe.capacity;
  options.layer_idx = layer_idx;
  if (build.force_balance) {
    options.force_balance_seed = build.seed;
  }
  return options;
}

std::vector<std::unique_ptr<ModelPiece>> make_pieces(const ModelConfig& config,
                                                     const ModelBuild& build) {
  const auto expert = build.mesh.group("expert");
  const auto range = expert_range(expert->rank(), expert->size(), config.num_experts);
  const ExpertsOptions experts = {config.hidden_size, config.intermediate_size, range.begin,
                                  range.size()};
  const bool exchange = build.moe.dispatcher == DispatcherKind::kAllToAll ||
                        (build.moe.dispatcher == DispatcherKind::kAuto && expert->size() > 1);
  std::shared_ptr<TokenDispatcher> dispatcher;
  if (exchange) {
    dispatcher = std::make_shared<AllToAllTokenDispatcher>(expert, config.num_experts, build.fault);
  } else {
    dispatcher = std::make_shared<TokenDispatcher>(build.fault);
  }

  std::vector<std::unique_ptr<ModelPiece>> pieces;
  auto embedding = std::make_unique<Embedding>(config);
  const Embedding* tied_to = config.tie_word_embeddings ? embedding.get() : nullptr;
  pieces.push_back(std::move(embedding));
  for (int64_t i = 0; i < config.num_hidden_layers; ++i) {
    pieces.push_back(std::make_unique<DecoderBlock>(i, config, router_options(config, build, i),
                                                    experts, dispatcher));
  }
  pieces.push_back(std::make_unique<Head>(config, tied_to));
  return pieces;
}

}  // namespace

std::unique_ptr<LanguageModel> build_olmoe(const ModelConfig& config, const ModelBuild& build) {
  return std::make_unique<LanguageModel>(make_pieces(config, build), config, build);
}

std::vector<HubTensor> olmoe_hub_tensors(const ModelConfig& config) {
  const int64_t hidden = config.hidden_size;
  const int64_t inner = config.intermediate_size;
  const int64_t query_width = config.num_attention_heads * config.head_dim();
  const int64_t key_width = config.key_value_heads() * config.head_dim();
  std::vector<HubTensor> tensors = {{"model.embed_tokens.weight", {config.vocab_size, hidden}}};
  for (int64_t i = 0; i < config.num_hidden_layers; ++i) {
    const auto layer = "model.layers." + std::to_string(i) + ".";
    const auto attention = layer + "self_attn.";
    tensors.push_back({layer + "input_layernorm.weight", {hidden}});
    tensors.push_back({attention + "q_proj.weight", {query_width, hidden}});
    tensors.push_back({attention + "k_proj.weight", {key_width, hidden}});
    tensors.push_back({attention + "v_proj.weight", {key_width, hidden}});
    tensors.push_back({attention + "o_proj.weight", {hidden, query_width}});
    tensors.push_back({attention + "q_norm.weight", {query_width}});
    tensors.push_back({attention + "k_norm.weight", {key_width}});
    tensors.push_back({layer + "post_attention_layernorm.weight", {hidden}});
    tensors.push_back({layer + "mlp.gate.weight", {config.num_experts, hidden}});
    for (int64_t e = 0; e < config.num_experts; ++e) {
      const auto expert = layer + "mlp.experts." + std::to_string(e) + ".";
      tensors.push_back({expert + "gate_proj.weight", {inner, hidden}});
      tensors.push_back({expert + "up_proj.weight", {inner, hidden}});
      tensors.push_back({expert + "down_proj.weight", {hidden, inner}});
    }
  }
  tensors.push_back({"model.norm.weight", {hidden}});
  if (!config.tie_word_embeddings) {
    tensors.push_back({"lm_head.weight", {config.vocab_size, hidden}});
  }
  return tensors;
}

ParameterCount count_olmoe_parameters(const ModelConfig& config) {
  ParameterCount count;
  for (const auto& tensor : olmoe_hub_tensors(config)) {
    count.total += product(tensor.shape);
  }
  const int64_t expert = 3 * config.hidden_size * config.intermediate_size;
  count.active = count.total - config.num_hidden_layers * expert *
                                   (config.num_experts - config.num_experts_per_tok);
  return count;
}

}  // namespace moesaic::moe
