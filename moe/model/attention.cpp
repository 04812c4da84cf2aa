#include "moe/model/attention.h"

#include <ATen/Functions.h>
#include <ATen/OpMathType.h>
#include <ATen/TensorOperators.h>

#include "moe/model/rotary_embedding.h"

namespace moesaic::moe {

std::vector<DeclaredParameter> Attention::declare(const std::string& prefix,
                                                  const std::string& hub_prefix) {
  const int64_t hidden = config_.hidden_size;
  const int64_t query_width = config_.num_attention_heads * config_.head_dim();
  const int64_t key_width = config_.key_value_heads() * config_.head_dim();

  DeclaredParameter qkv;
  qkv.spec = {prefix + ".qkv_proj",
              {query_width + 2 * key_width, hidden},
              /*replicated_over=*/"data",
              /*sharded_over=*/"",
              &qkv_proj};
  int64_t offset = 0;
  for (const auto& [name, width] : std::vector<std::pair<std::string, int64_t>>{
           {"q_proj", query_width}, {"k_proj", key_width}, {"v_proj", key_width}}) {
    qkv.slices.push_back(
        {{hub_prefix + name + ".weight", {width, hidden}}, 0, offset, width * hidden});
    offset += width * hidden;
  }
  return {qkv,
          whole_parameter(prefix + ".o_proj", {hidden, query_width}, hub_prefix + "o_proj.weight",
                          &o_proj),
          whole_parameter(prefix + ".q_norm", {query_width}, hub_prefix + "q_norm.weight", &q_norm,
                          Initialization::kOnes),
          whole_parameter(prefix + ".k_norm", {key_width}, hub_prefix + "k_norm.weight", &k_norm,
                          Initialization::kOnes)};
}

at::Tensor Attention::operator()(const at::Tensor& x_TD, const LayerContext& context) const {
  const int64_t num_heads = config_.num_attention_heads;
  const int64_t num_key_heads = config_.key_value_heads();
  const int64_t head_dim = config_.head_dim();
  const int64_t query_width = num_heads * head_dim;
  const int64_t key_width = num_key_heads * head_dim;

  const auto qkv =
      at::linear(x_TD, qkv_proj).split_with_sizes({query_width, key_width, key_width}, -1);
  auto q = at::rms_norm(qkv[0], {query_width}, q_norm, config_.rms_norm_eps);
  auto k = at::rms_norm(qkv[1], {key_width}, k_norm, config_.rms_norm_eps);
  auto v = qkv[2];
  if (config_.clip_qkv) {
    q = q.clamp(-*config_.clip_qkv, *config_.clip_qkv);
    k = k.clamp(-*config_.clip_qkv, *config_.clip_qkv);
    v = v.clamp(-*config_.clip_qkv, *config_.clip_qkv);
  }

  const auto by_head = [&](const at::Tensor& x, int64_t heads) {
    return x.reshape({context.num_sequences, context.sequence_length, heads, head_dim})
        .transpose(1, 2);
  };
  const auto table = make_rotary_table(context.sequence_length, head_dim, config_.rope_theta,
                                       x_TD.options().dtype(at::toOpMathType(x_TD.scalar_type())));
  const auto q_BHSd = apply_rotary(by_head(q, num_heads), table);
  const int64_t queries_per_key = num_heads / num_key_heads;
  const auto k_BHSd =
      apply_rotary(by_head(k, num_key_heads), table).repeat_interleave(queries_per_key, 1);
  const auto v_BHSd = by_head(v, num_key_heads).repeat_interleave(queries_per_key, 1);
  const auto out_BHSd = at::scaled_dot_product_attention(q_BHSd, k_BHSd, v_BHSd, {},
                                                         /*dropout_p=*/0.0, /*is_causal=*/true);
  return at::linear(out_BHSd.transpose(1, 2).reshape({x_TD.size(0), query_width}), o_proj);
}

}  // namespace moesaic::moe
