// Shapes: B sequences, S positions, T = B*S tokens, D model width, H query heads, d head dimension.
#include "moe/model/attention.h"

#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include <limits>
#include <tuple>

#include "moe/model/rotary_embedding.h"
#include "tests/support/random_tensor.h"
#include "tests/support/tensor_check.h"

namespace moesaic::moe {
namespace {

using tests::all_close;
using tests::all_equal;
using tests::random_tensor;

constexpr int64_t kSequences = 2;
constexpr int64_t kLength = 5;
constexpr int64_t kHidden = 16;
constexpr int64_t kHeads = 4;
constexpr LayerContext kContext = {.num_sequences = kSequences, .sequence_length = kLength};

ModelConfig make_config(int64_t key_heads, std::optional<double> clip_qkv) {
  ModelConfig config;
  config.hidden_size = kHidden;
  config.num_attention_heads = kHeads;
  config.num_key_value_heads = key_heads;
  config.clip_qkv = clip_qkv;
  config.rope_theta = 100.0;
  return config;
}

Attention make_attention(const ModelConfig& config) {
  Attention attention(config);
  const int64_t key_width = config.key_value_heads() * config.head_dim();
  attention.qkv_proj = random_tensor({kHidden + 2 * key_width, kHidden}, 1).div(4);
  attention.o_proj = random_tensor({kHidden, kHidden}, 2).div(4);
  attention.q_norm = random_tensor({kHidden}, 3);
  attention.k_norm = random_tensor({key_width}, 4);
  return attention;
}

std::vector<at::Tensor> weights_of(const Attention& attention) {
  return {attention.qkv_proj, attention.o_proj, attention.q_norm, attention.k_norm};
}

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  return x / (x.square().mean(-1, /*keepdim=*/true) + eps).sqrt() * weight;
}

// One sequence and one head at a time, with a mask in full.
at::Tensor naive_attention(const Attention& attention, const ModelConfig& config,
                           const at::Tensor& x_TD) {
  const int64_t head_dim = config.head_dim();
  const int64_t key_width = config.key_value_heads() * head_dim;
  const auto table = make_rotary_table(kLength, head_dim, config.rope_theta, at::kDouble);
  const auto future_SS =
      at::arange(kLength).unsqueeze(0) > at::arange(kLength).unsqueeze(1);  // key > query
  std::vector<at::Tensor> sequences;
  for (int64_t b = 0; b < kSequences; ++b) {
    const auto x_SD = x_TD.narrow(0, b * kLength, kLength);
    const auto project = [&](int64_t begin, int64_t width) {
      return x_SD.mm(attention.qkv_proj.narrow(0, begin, width).t());
    };
    auto q = rms_norm(project(0, kHidden), attention.q_norm, config.rms_norm_eps);
    auto k = rms_norm(project(kHidden, key_width), attention.k_norm, config.rms_norm_eps);
    auto v = project(kHidden + key_width, key_width);
    if (config.clip_qkv) {
      q = q.clamp(-*config.clip_qkv, *config.clip_qkv);
      k = k.clamp(-*config.clip_qkv, *config.clip_qkv);
      v = v.clamp(-*config.clip_qkv, *config.clip_qkv);
    }
    std::vector<at::Tensor> heads;
    for (int64_t h = 0; h < kHeads; ++h) {
      const int64_t key_head = h / (kHeads / config.key_value_heads());
      const auto q_Sd = apply_rotary(q.narrow(1, h * head_dim, head_dim), table);
      const auto k_Sd = apply_rotary(k.narrow(1, key_head * head_dim, head_dim), table);
      const auto scores_SS = q_Sd.mm(k_Sd.t())
                                 .div(std::sqrt(static_cast<double>(head_dim)))
                                 .masked_fill(future_SS, -std::numeric_limits<double>::infinity());
      heads.push_back(at::softmax(scores_SS, -1).mm(v.narrow(1, key_head * head_dim, head_dim)));
    }
    sequences.push_back(at::cat(heads, 1).mm(attention.o_proj.t()));
  }
  return at::cat(sequences);
}

using Case = std::tuple<int64_t, std::optional<double>>;  // key/value heads, clip_qkv
class AttentionTest : public testing::TestWithParam<Case> {
 protected:
  const ModelConfig config_ = make_config(std::get<0>(GetParam()), std::get<1>(GetParam()));
  const Attention attention_ = make_attention(config_);
  const at::Tensor x_TD_ = random_tensor({kSequences * kLength, kHidden}, 5);
};

TEST_P(AttentionTest, IsMaskedSoftmaxAttentionHeadByHead) {
  EXPECT_TRUE(all_close(attention_(x_TD_, kContext), naive_attention(attention_, config_, x_TD_),
                        1e-12, 1e-12));
}

TEST_P(AttentionTest, GradientsAreThoseOfTheNaiveForm) {
  const auto v_TD = random_tensor({kSequences * kLength, kHidden}, 6);
  const auto gradients = [&](bool naive) {
    auto attention = make_attention(config_);
    auto leaves = weights_of(attention);
    leaves.push_back(x_TD_.clone());
    for (const auto& leaf : leaves) {
      leaf.set_requires_grad(true);
    }
    const auto out_TD = naive ? naive_attention(attention, config_, leaves.back())
                              : attention(leaves.back(), kContext);
    out_TD.backward(v_TD);
    std::vector<at::Tensor> grads;
    for (const auto& leaf : leaves) {
      grads.push_back(leaf.grad());
    }
    return grads;
  };
  const auto ours = gradients(false);
  const auto expected = gradients(true);
  for (size_t i = 0; i < ours.size(); ++i) {
    EXPECT_TRUE(all_close(ours[i], expected[i], 1e-11, 1e-11)) << "input " << i;
    EXPECT_GT(expected[i].abs().max().item<double>(), 1e-3) << "input " << i;
  }
}

TEST_P(AttentionTest, ALaterTokenChangesNoEarlierOutput) {
  const auto before_TD = attention_(x_TD_, kContext);
  constexpr int64_t kChanged = 3;  // of the first sequence
  auto changed_TD = x_TD_.clone();
  changed_TD[kChanged].add_(1.0);
  const auto after_TD = attention_(changed_TD, kContext);
  EXPECT_TRUE(all_equal(after_TD.narrow(0, 0, kChanged), before_TD.narrow(0, 0, kChanged)));
  for (int64_t t = kChanged; t < kLength; ++t) {
    EXPECT_GT((after_TD[t] - before_TD[t]).abs().max().item<double>(), 1e-6) << "position " << t;
  }
  // Nor anything in the other sequence.
  EXPECT_TRUE(
      all_equal(after_TD.narrow(0, kLength, kLength), before_TD.narrow(0, kLength, kLength)));
}

INSTANTIATE_TEST_SUITE_P(Grid, AttentionTest,
                         testing::Values(Case{4, std::nullopt}, Case{2, std::nullopt},
                                         Case{1, std::nullopt}, Case{4, 0.5}, Case{2, 0.5}));

TEST(Attention, TheClipCanBeSeen) {
  const auto x_TD = random_tensor({kSequences * kLength, kHidden}, 5);
  const auto free = make_attention(make_config(4, std::nullopt))(x_TD, kContext);
  const auto clipped = make_attention(make_config(4, 0.5))(x_TD, kContext);
  EXPECT_GT((free - clipped).abs().max().item<double>(), 1e-2);
}

TEST(Attention, FloatStaysCloseToDouble) {
  const auto config = make_config(2, std::nullopt);
  const auto x_TD = random_tensor({kSequences * kLength, kHidden}, 5);
  auto attention = make_attention(config);
  const auto expected_TD = attention(x_TD, kContext).to(at::kFloat);
  attention.qkv_proj = attention.qkv_proj.to(at::kFloat);
  attention.o_proj = attention.o_proj.to(at::kFloat);
  attention.q_norm = attention.q_norm.to(at::kFloat);
  attention.k_norm = attention.k_norm.to(at::kFloat);
  EXPECT_TRUE(all_close(attention(x_TD.to(at::kFloat), kContext), expected_TD, 1e-5, 1e-5));
}

}  // namespace
}  // namespace moesaic::moe
