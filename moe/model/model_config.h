// A Hugging Face config.json of the OLMoE family: the same keys, the same defaults (OlmoeConfig).
// trainer/config reads and writes it; keys that this family cannot run are refused there.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace moesaic::moe {

struct ModelConfig {
  int64_t vocab_size = 50304;
  int64_t hidden_size = 2048;
  int64_t intermediate_size = 2048;  ///< width of one expert
  int64_t num_hidden_layers = 16;
  int64_t num_attention_heads = 16;
  std::optional<int64_t> num_key_value_heads;  ///< none: num_attention_heads
  std::string hidden_act = "silu";
  int64_t max_position_embeddings = 4096;
  double initializer_range = 0.02;
  double rms_norm_eps = 1e-5;
  double rope_theta = 10000.0;
  bool attention_bias = false;
  double attention_dropout = 0.0;
  std::optional<double> clip_qkv;
  int64_t num_experts = 64;
  int64_t num_experts_per_tok = 8;
  bool norm_topk_prob = false;
  double router_aux_loss_coef = 0.01;
  bool tie_word_embeddings = false;
  std::optional<int64_t> pad_token_id = 1;
  std::optional<int64_t> bos_token_id;
  std::vector<int64_t> eos_token_id = {50279};  ///< empty: null

  /// Keys that do nothing in training (architectures, use_cache, ...): name -> JSON text, kept as
  /// read.
  std::map<std::string, std::string> carried;

  int64_t key_value_heads() const { return num_key_value_heads.value_or(num_attention_heads); }
  int64_t head_dim() const { return hidden_size / num_attention_heads; }

  template <typename Visitor>
  void describe(Visitor& visitor) {
    visitor.option("vocab_size", vocab_size,
                   {.help = "Rows of the embedding and of the head.", .minimum = 1});
    visitor.option("hidden_size", hidden_size,
                   {.help = "Width of the residual stream.", .minimum = 1});
    visitor.option("intermediate_size", intermediate_size,
                   {.help = "Width of one expert.", .minimum = 1});
    visitor.option("num_hidden_layers", num_hidden_layers,
                   {.help = "Number of blocks.", .minimum = 1, .maximum = 10000});
    visitor.option("num_attention_heads", num_attention_heads,
                   {.help = "Query heads; they divide hidden_size.", .minimum = 1});
    visitor.option(
        "num_key_value_heads", num_key_value_heads,
        {.help = "Key and value heads (grouped-query attention); null is num_attention_heads.",
         .minimum = 1});
    visitor.option("hidden_act", hidden_act,
                   {.help = "Activation of the experts; silu is supported."});
    visitor.option("max_position_embeddings", max_position_embeddings,
                   {.help = "Longest sequence the model is meant for.", .minimum = 1});
    visitor.option("initializer_range", initializer_range,
                   {.help = "Standard deviation of the initial weights (normal, cut at 3 sigma).",
                    .minimum = 0.0});
    visitor.option("rms_norm_eps", rms_norm_eps,
                   {.help = "Epsilon of every RMS norm, added to the mean square.", .above = 0.0});
    visitor.option(
        "rope_theta", rope_theta,
        {.help = "Base of the rotary embedding; also read from rope_parameters.rope_theta.",
         .above = 0.0});
    visitor.option("attention_bias", attention_bias,
                   {.help = "Biases in the attention projections; only false is supported."});
    visitor.option("attention_dropout", attention_dropout,
                   {.help = "Dropout of the attention weights; only 0 is supported.",
                    .minimum = 0.0,
                    .maximum = 1.0});
    visitor.option(
        "clip_qkv", clip_qkv,
        {.help =
             "Queries, keys and values are clipped to [-clip_qkv, clip_qkv]; null does not clip.",
         .above = 0.0});
    visitor.option(
        "num_experts", num_experts,
        {.help = "Experts of a block; 1 makes the model dense.", .minimum = 1, .maximum = 1e6});
    visitor.option("num_experts_per_tok", num_experts_per_tok,
                   {.help = "Experts that each token chooses (top-k).", .minimum = 1});
    visitor.option("norm_topk_prob", norm_topk_prob,
                   {.help = "Divide the weights of the chosen experts by their sum."});
    visitor.option(
        "router_aux_loss_coef", router_aux_loss_coef,
        {.help = "Default of moe.load_balance.coef; carried by the checkpoint's config.json.",
         .minimum = 0.0});
    visitor.option("tie_word_embeddings", tie_word_embeddings,
                   {.help = "The head uses the embedding's weights."});
    visitor.option("pad_token_id", pad_token_id, {.help = "Padding token, or null.", .minimum = 0});
    visitor.option("bos_token_id", bos_token_id,
                   {.help = "Token that opens a document, or null.", .minimum = 0});
    visitor.option(
        "eos_token_id", eos_token_id,
        {.help = "Token or tokens that end a document; generation stops there. Null for none.",
         .minimum = 0,
         .one_or_many = true});
  }
};

}  // namespace moesaic::moe
