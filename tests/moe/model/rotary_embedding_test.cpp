#include "moe/model/rotary_embedding.h"

#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include <complex>

#include "tests/support/gradcheck.h"
#include "tests/support/random_tensor.h"
#include "tests/support/tensor_check.h"

namespace moesaic::moe {
namespace {

using tests::all_close;
using tests::all_equal;
using tests::random_tensor;

constexpr int64_t kLength = 7;
constexpr int64_t kHeadDim = 6;
constexpr double kTheta = 100.0;

TEST(RotaryEmbedding, TurnsEachPairLikeAComplexNumber) {
  const auto x_BHSd = random_tensor({2, 3, kLength, kHeadDim}, 1);
  const auto y_BHSd =
      apply_rotary(x_BHSd, make_rotary_table(kLength, kHeadDim, kTheta, at::kDouble));
  auto expected_BHSd = at::empty_like(x_BHSd);
  const auto x = x_BHSd.accessor<double, 4>();
  auto expected = expected_BHSd.accessor<double, 4>();
  for (int64_t b = 0; b < 2; ++b) {
    for (int64_t h = 0; h < 3; ++h) {
      for (int64_t s = 0; s < kLength; ++s) {
        for (int64_t i = 0; i < kHeadDim / 2; ++i) {
          // Elements i and i + d/2 are the two parts of one number.
          const std::complex<double> pair(x[b][h][s][i], x[b][h][s][i + kHeadDim / 2]);
          const double frequency = std::pow(kTheta, -2.0 * static_cast<double>(i) / kHeadDim);
          const auto turned = pair * std::polar(1.0, static_cast<double>(s) * frequency);
          expected[b][h][s][i] = turned.real();
          expected[b][h][s][i + kHeadDim / 2] = turned.imag();
        }
      }
    }
  }
  EXPECT_TRUE(all_close(y_BHSd, expected_BHSd, 1e-13, 1e-13));
}

TEST(RotaryEmbedding, PositionZeroIsLeftAlone) {
  const auto x_BHSd = random_tensor({1, 2, kLength, kHeadDim}, 2, at::kFloat);
  const auto y_BHSd =
      apply_rotary(x_BHSd, make_rotary_table(kLength, kHeadDim, kTheta, at::kFloat));
  EXPECT_TRUE(all_equal(y_BHSd.select(2, 0), x_BHSd.select(2, 0)));
  EXPECT_FALSE(all_close(y_BHSd.select(2, 1), x_BHSd.select(2, 1), 1e-3, 1e-3));
}

TEST(RotaryEmbedding, ScoresDependOnTheDistanceAlone) {
  // The same query and key at every position.
  const auto repeat = [](uint64_t seed) {
    return random_tensor({1, 1, 1, kHeadDim}, seed).expand({1, 1, kLength, kHeadDim});
  };
  const auto table = make_rotary_table(kLength, kHeadDim, kTheta, at::kDouble);
  const auto scores_SS =
      apply_rotary(repeat(3), table).matmul(apply_rotary(repeat(4), table).transpose(2, 3))[0][0];
  EXPECT_TRUE(all_close(scores_SS.narrow(0, 1, kLength - 1).narrow(1, 1, kLength - 1),
                        scores_SS.narrow(0, 0, kLength - 1).narrow(1, 0, kLength - 1), 1e-12,
                        1e-12));
  EXPECT_GT((scores_SS[0][1] - scores_SS[0][0]).abs().item<double>(), 1e-3);
}

// Angles of far positions need more than float32: 10^5 radians leave 2^-7 of accuracy there.
TEST(RotaryEmbedding, FloatTablesAreRoundedDoubleTables) {
  const auto single = make_rotary_table(100001, 4, 10000.0, at::kFloat);
  const auto twice = make_rotary_table(100001, 4, 10000.0, at::kDouble);
  EXPECT_TRUE(all_equal(single.cos_Sd, twice.cos_Sd.to(at::kFloat)));
  EXPECT_NEAR(single.sin_Sd[100000][0].item<double>(), std::sin(1e5), 1e-7);
}

TEST(RotaryEmbedding, GradientsAreThoseOfCentralDifferences) {
  const auto table = make_rotary_table(3, 4, kTheta, at::kDouble);
  EXPECT_TRUE(tests::gradcheck(
      [&](const std::vector<at::Tensor>& in) { return apply_rotary(in[0], table); },
      {random_tensor({1, 2, 3, 4}, 5)}));
}

}  // namespace
}  // namespace moesaic::moe
