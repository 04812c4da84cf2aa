#include "kernels/cuda/unpermute_tokens.h"

#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include <limits>
#include <utility>

#include "kernels/reference/unpermute_tokens.h"
#include "tests/kernels/cuda/device_buffer.h"
#include "tests/kernels/cuda/dispatch_case.h"
#include "tests/kernels/cuda/documented_dot.h"
#include "tests/kernels/cuda/for_each_order.h"
#include "tests/support/random_tensor.h"
#include "tests/support/tensor_check.h"

MOESAIC_KERNEL_TEST(unpermute_tokens_kernel)
MOESAIC_KERNEL_TEST(unpermute_tokens_backward_kernel)

namespace moesaic::kernels::cuda {
namespace {

using tests::all_equal;
using tests::for_each_order;
using tests::random_tensor;

// weights_TK may be undefined.
template <class T>
at::Tensor unpermute_on_device(const at::Tensor& rows_RD, const at::Tensor& weights_TK,
                               const at::Tensor& row_of_choice_TK, int64_t offset,
                               int64_t max_blocks, int expected_foreign_row = 0) {
  const int64_t num_tokens = row_of_choice_TK.size(0);
  const DeviceBuffer<T> rows(rows_RD, offset);
  const DeviceBuffer<Accumulate<T>> weights(
      weights_TK.defined() ? weights_TK : at::empty({0}, dtype_of<Accumulate<T>>()));
  const DeviceBuffer<int64_t> row_of_choice(row_of_choice_TK);
  const DeviceBuffer<T> out(num_tokens * rows_RD.size(1), offset);
  const DeviceBuffer<int> foreign_row(at::zeros({1}, at::kInt));
  unpermute_tokens<T>(rows.data(), weights_TK.defined() ? weights.data() : nullptr,
                      row_of_choice.data(), num_tokens, row_of_choice_TK.size(1), rows_RD.size(0),
                      rows_RD.size(1), out.data(), foreign_row.data(), /*stream=*/nullptr,
                      max_blocks);
  EXPECT_EQ(foreign_row.to_tensor({1}).template item<int>(), expected_foreign_row);
  return out.to_tensor({num_tokens, rows_RD.size(1)});
}

struct Gradients {
  at::Tensor rows_RD;
  at::Tensor weights_TK;
};

// Rows of the gradient that nobody names stay 7. What is not wanted is passed as null.
template <class T>
Gradients backward_on_device(const at::Tensor& grad_out_TD, const at::Tensor& rows_RD,
                             const at::Tensor& weights_TK, const at::Tensor& row_of_choice_TK,
                             int64_t offset, int64_t max_blocks, bool rows_wanted = true,
                             bool weights_wanted = true, int expected_foreign_row = 0) {
  const DeviceBuffer<T> grad_out(grad_out_TD, offset);
  const DeviceBuffer<T> rows(rows_RD, offset);
  const DeviceBuffer<Accumulate<T>> weights(weights_TK);
  const DeviceBuffer<int64_t> row_of_choice(row_of_choice_TK);
  const DeviceBuffer<T> grad_rows(at::full(rows_RD.sizes(), 7, dtype_of<T>()), offset);
  const DeviceBuffer<Accumulate<T>> grad_weights(weights_TK.numel());
  const DeviceBuffer<int> foreign_row(at::zeros({1}, at::kInt));
  unpermute_tokens_backward<T>(
      grad_out.data(), weights_wanted ? rows.data() : nullptr, weights.data(), row_of_choice.data(),
      grad_out_TD.size(0), row_of_choice_TK.size(1), rows_RD.size(0), rows_RD.size(1),
      rows_wanted ? grad_rows.data() : nullptr, weights_wanted ? grad_weights.data() : nullptr,
      foreign_row.data(), /*stream=*/nullptr, max_blocks);
  EXPECT_EQ(foreign_row.to_tensor({1}).template item<int>(), expected_foreign_row);
  return {grad_rows.to_tensor(rows_RD.sizes()),
          weights_wanted ? grad_weights.to_tensor(weights_TK.sizes()) : at::Tensor()};
}

template <class T>
class CudaUnpermuteTokens : public testing::Test {
 protected:
  void set_case(const DispatchCase& c) {
    constexpr auto dtype = dtype_of<T>();
    constexpr auto sum_dtype = dtype_of<Accumulate<T>>();
    plan_ = c.plan();
    rows_RD_ = random_tensor({plan_.source_R.size(0), c.width}, 91).to(dtype);
    weights_TK_ = random_tensor({c.num_tokens, c.top_k}, 92).to(sum_dtype);
    grad_out_TD_ = random_tensor({c.num_tokens, c.width}, 93).to(dtype);
  }
  const at::Tensor& row_of_choice() const { return plan_.row_of_choice_TK; }

  // d <out, grad_out> / d rows and weights by ATen's autograd of the reference.
  Gradients reference_gradients(const at::Tensor& rows_RD, const at::Tensor& grad_out_TD) const {
    const auto rows_leaf_RD = rows_RD.clone().set_requires_grad(true);
    const auto weights_leaf_TK = weights_TK_.clone().set_requires_grad(true);
    reference::unpermute_tokens(rows_leaf_RD, weights_leaf_TK, plan_).backward(grad_out_TD);
    return {rows_leaf_RD.grad(), weights_leaf_TK.grad()};
  }

  // The gate gradient in the order of kernels/cuda/row_dot.h; +0 for a dropped choice.
  at::Tensor documented_grad_weights() const {
    auto grad_TK = at::zeros_like(weights_TK_);
    const auto* row_of_choice = this->row_of_choice().template const_data_ptr<int64_t>();
    const int64_t width = rows_RD_.size(1);
    for (int64_t choice = 0; choice < grad_TK.numel(); ++choice) {
      if (row_of_choice[choice] >= 0) {
        grad_TK.template mutable_data_ptr<Accumulate<T>>()[choice] = documented_dot<T>(
            static_cast<const T*>(rows_RD_.const_data_ptr()) + row_of_choice[choice] * width,
            static_cast<const T*>(grad_out_TD_.const_data_ptr()) +
                choice / weights_TK_.size(1) * width,
            width);
      }
    }
    return grad_TK;
  }

  DispatchPlan plan_;
  at::Tensor rows_RD_;
  at::Tensor weights_TK_;
  at::Tensor grad_out_TD_;
};

using ElementTypes = testing::Types<float, double, __nv_bfloat16, __half>;
TYPED_TEST_SUITE(CudaUnpermuteTokens, ElementTypes);

TYPED_TEST(CudaUnpermuteTokens, SumsToTheBitsOfTheReference) {
  for (const auto& c : dispatch_cases()) {
    this->set_case(c);
    const auto ones_TK = at::ones_like(this->weights_TK_);
    const auto expected =
        reference::unpermute_tokens(this->rows_RD_, this->weights_TK_, this->plan_);
    const auto expected_sum = reference::unpermute_tokens(this->rows_RD_, ones_TK, this->plan_);
    for_each_order([&] {
      for (const int64_t max_blocks : kGrids) {
        EXPECT_TRUE(same_bits(unpermute_on_device<TypeParam>(this->rows_RD_, this->weights_TK_,
                                                             this->row_of_choice(), 0, max_blocks),
                              expected));
      }
      for (const int64_t offset : {0, 1}) {
        EXPECT_TRUE(same_bits(unpermute_on_device<TypeParam>(this->rows_RD_, /*weights_TK=*/{},
                                                             this->row_of_choice(), offset, 3),
                              expected_sum));
      }
    });
  }
}

TYPED_TEST(CudaUnpermuteTokens, GradientsAreThoseOfTheReference) {
  constexpr double kEpsilon = std::numeric_limits<Accumulate<TypeParam>>::epsilon();
  for (const auto& c : dispatch_cases()) {
    this->set_case(c);
    const auto expected = this->reference_gradients(this->rows_RD_, this->grad_out_TD_);
    const auto expected_grad_weights = this->documented_grad_weights();
    // A sum of D products errs by at most D epsilon times the sum of their magnitudes.
    const auto magnitudes =
        this->reference_gradients(this->rows_RD_.abs(), this->grad_out_TD_.abs());
    const auto error_TK = (expected_grad_weights - expected.weights_TK).abs();
    EXPECT_TRUE(error_TK.le(magnitudes.weights_TK * (kEpsilon * static_cast<double>(c.width + 1)))
                    .all()
                    .template item<bool>());
    for_each_order([&] {
      for (const auto& [max_blocks, offset] :
           {std::pair<int64_t, int64_t>{1, 0}, {3, 1}, {kMaxBlocks, 0}}) {
        const auto actual =
            backward_on_device<TypeParam>(this->grad_out_TD_, this->rows_RD_, this->weights_TK_,
                                          this->row_of_choice(), offset, max_blocks);
        EXPECT_TRUE(all_equal(actual.rows_RD, expected.rows_RD));
        EXPECT_TRUE(same_bits(actual.weights_TK, expected_grad_weights));
      }
    });
  }
}

TYPED_TEST(CudaUnpermuteTokens, EitherGradientAlone) {
  this->set_case({9, 24, 5, 3, 3});
  const auto both = backward_on_device<TypeParam>(this->grad_out_TD_, this->rows_RD_,
                                                  this->weights_TK_, this->row_of_choice(), 0, 2);
  for_each_order([&] {
    const auto rows = backward_on_device<TypeParam>(this->grad_out_TD_, this->rows_RD_,
                                                    this->weights_TK_, this->row_of_choice(), 0, 2,
                                                    /*rows_wanted=*/true, /*weights_wanted=*/false);
    EXPECT_TRUE(same_bits(rows.rows_RD, both.rows_RD));
    const auto weights = backward_on_device<TypeParam>(
        this->grad_out_TD_, this->rows_RD_, this->weights_TK_, this->row_of_choice(), 0, 2,
        /*rows_wanted=*/false, /*weights_wanted=*/true);
    EXPECT_TRUE(same_bits(weights.weights_TK, both.weights_TK));
    EXPECT_TRUE(same_bits(weights.rows_RD, at::full_like(this->rows_RD_, 7)));  // not written
  });
}

TYPED_TEST(CudaUnpermuteTokens, DroppedChoicesAddNothingWhateverTheirWeight) {
  const auto row_of_choice_TK = at::tensor({0, -1, -1, -3}, at::kLong).view({2, 2});
  const auto rows_RD = at::full({2, 9}, 2, dtype_of<TypeParam>());
  const auto nan = std::numeric_limits<double>::quiet_NaN();
  const auto weights_TK =
      at::tensor({3.0, nan, nan, nan}).view({2, 2}).to(dtype_of<Accumulate<TypeParam>>());
  const auto grad_out_TD = at::tensor({1.0, nan}).unsqueeze(1).repeat({1, 9}).to(rows_RD.dtype());
  for_each_order([&] {
    EXPECT_TRUE(same_bits(
        unpermute_on_device<TypeParam>(rows_RD, weights_TK, row_of_choice_TK, 0, kMaxBlocks),
        at::tensor({6.0, 0.0}).unsqueeze(1).repeat({1, 9}).to(rows_RD.dtype())));
    const auto grad = backward_on_device<TypeParam>(grad_out_TD, rows_RD, weights_TK,
                                                    row_of_choice_TK, 0, kMaxBlocks);
    EXPECT_TRUE(same_bits(grad.weights_TK,
                          at::tensor({18.0, 0.0, 0.0, 0.0}).view({2, 2}).to(weights_TK.dtype())));
    // The second row is nobody's.
    EXPECT_TRUE(same_bits(grad.rows_RD,
                          at::tensor({3.0, 7.0}).unsqueeze(1).repeat({1, 9}).to(rows_RD.dtype())));
  });
}

TYPED_TEST(CudaUnpermuteTokens, RowPastTheEndIsReportedAndNotTouched) {
  const auto foreign_dropped_TK = at::tensor({1, -1, 0, -1}, at::kLong).view({2, 2});
  const auto rows_RD = random_tensor({2, 16}, 94).to(dtype_of<TypeParam>());
  const auto weights_TK = random_tensor({2, 2}, 95).to(dtype_of<Accumulate<TypeParam>>());
  for (const int64_t past_end : {2, 1000000}) {
    const auto row_of_choice_TK =
        at::tensor({int64_t{1}, past_end, int64_t{0}, past_end}).view({2, 2});
    for_each_order([&] {
      EXPECT_TRUE(same_bits(
          unpermute_on_device<TypeParam>(rows_RD, weights_TK, row_of_choice_TK, 0, kMaxBlocks,
                                         /*expected_foreign_row=*/1),
          unpermute_on_device<TypeParam>(rows_RD, weights_TK, foreign_dropped_TK, 0, kMaxBlocks)));
      const auto actual = backward_on_device<TypeParam>(rows_RD, rows_RD, weights_TK,
                                                        row_of_choice_TK, 0, kMaxBlocks, true, true,
                                                        /*expected_foreign_row=*/1);
      const auto expected = backward_on_device<TypeParam>(rows_RD, rows_RD, weights_TK,
                                                          foreign_dropped_TK, 0, kMaxBlocks);
      EXPECT_TRUE(same_bits(actual.rows_RD, expected.rows_RD));
      EXPECT_TRUE(same_bits(actual.weights_TK, expected.weights_TK));
    });
  }
}

}  // namespace
}  // namespace moesaic::kernels::cuda
