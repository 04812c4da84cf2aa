#include "kernels/cuda/row_dot.h"

#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include <limits>
#include <utility>

#include "tests/kernels/cuda/device_buffer.h"
#include "tests/kernels/cuda/documented_dot.h"
#include "tests/kernels/cuda/for_each_order.h"
#include "tests/support/random_tensor.h"
#include "tests/support/tensor_check.h"

MOESAIC_KERNEL_TEST(row_dot_kernel)

namespace moesaic::kernels::cuda {
namespace {

using tests::for_each_order;
using tests::random_tensor;

template <class T>
at::Tensor row_dot_on_device(const at::Tensor& a_RF, const at::Tensor& b_RF, int64_t offset,
                             int64_t max_blocks) {
  const DeviceBuffer<T> a(a_RF, offset);
  const DeviceBuffer<T> b(b_RF, offset);
  const DeviceBuffer<Accumulate<T>> out(a_RF.size(0));
  row_dot<T>(a.data(), b.data(), a_RF.size(0), a_RF.size(1), out.data(), /*stream=*/nullptr,
             max_blocks);
  return out.to_tensor({a_RF.size(0)});
}

template <class T>
at::Tensor documented_row_dot(const at::Tensor& a_RF, const at::Tensor& b_RF) {
  const at::Tensor out_R = at::empty({a_RF.size(0)}, dtype_of<Accumulate<T>>());
  const int64_t width = a_RF.size(1);
  for (int64_t r = 0; r < a_RF.size(0); ++r) {
    out_R.mutable_data_ptr<Accumulate<T>>()[r] =
        documented_dot<T>(static_cast<const T*>(a_RF.const_data_ptr()) + r * width,
                          static_cast<const T*>(b_RF.const_data_ptr()) + r * width, width);
  }
  return out_R;
}

template <class T>
class CudaRowDot : public testing::Test {};

using ElementTypes = testing::Types<float, double, __nv_bfloat16, __half>;
TYPED_TEST_SUITE(CudaRowDot, ElementTypes);

TYPED_TEST(CudaRowDot, SumsInTheDocumentedOrderForAnyGridAndAlignment) {
  constexpr double kEpsilon = std::numeric_limits<Accumulate<TypeParam>>::epsilon();
  for (const int64_t num_rows : {0, 1, 19}) {
    for (const int64_t width : {0, 1, 7, 256, 301, 776}) {
      const auto a_RF = random_tensor({num_rows, width}, 101).to(dtype_of<TypeParam>());
      const auto b_RF = random_tensor({num_rows, width}, 102).to(dtype_of<TypeParam>());
      const auto expected_R = documented_row_dot<TypeParam>(a_RF, b_RF);
      const auto products_RF = a_RF.to(at::kDouble) * b_RF.to(at::kDouble);
      EXPECT_TRUE((expected_R.to(at::kDouble) - products_RF.sum(1))
                      .abs()
                      .le(products_RF.abs().sum(1) * (kEpsilon * (static_cast<double>(width) + 1)))
                      .all()
                      .template item<bool>());
      for_each_order([&] {
        for (const auto& [max_blocks, offset] :
             {std::pair<int64_t, int64_t>{1, 0}, {2, 1}, {kMaxBlocks, 0}}) {
          EXPECT_TRUE(
              same_bits(row_dot_on_device<TypeParam>(a_RF, b_RF, offset, max_blocks), expected_R))
              << num_rows << " x " << width;
        }
      });
    }
  }
}

TEST(CudaRowDot, IsTheGateGradientWithoutTheExpertsResult) {
  const auto weight_DF = random_tensor({24, 40}, 103);
  const auto a_RF = random_tensor({13, 40}, 104);
  const auto grad_RD = random_tensor({13, 24}, 105);
  const auto y_RD = a_RF.matmul(weight_DF.t());
  for_each_order([&] {
    const auto with_result_R = row_dot_on_device<double>(y_RD, grad_RD, 0, kMaxBlocks);
    const auto lean_R = row_dot_on_device<double>(a_RF, grad_RD.matmul(weight_DF), 0, kMaxBlocks);
    EXPECT_TRUE(tests::all_close(lean_R, with_result_R, 1e-12, 1e-12));
  });
}

}  // namespace
}  // namespace moesaic::kernels::cuda
