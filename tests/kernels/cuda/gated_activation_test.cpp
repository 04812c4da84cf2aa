#include "kernels/cuda/gated_activation.h"

#include <gtest/gtest.h>

#include <limits>
#include <tuple>
#include <utility>

#include "kernels/reference/gated_activation.h"
#include "tests/kernels/cuda/device_buffer.h"
#include "tests/kernels/cuda/for_each_order.h"
#include "tests/support/random_tensor.h"
#include "tests/support/tensor_check.h"

MOESAIC_KERNEL_TEST(gated_activation_kernel)
MOESAIC_KERNEL_TEST(gated_activation_backward_kernel)

namespace moesaic::kernels::cuda {
namespace {

using tests::all_close;
using tests::for_each_order;
using tests::random_tensor;

template <class T>
at::Tensor activation_on_device(const at::Tensor& gate_up_R2F, int64_t offset, int64_t max_blocks) {
  const int64_t num_rows = gate_up_R2F.size(0);
  const int64_t width = gate_up_R2F.size(1) / 2;
  const DeviceBuffer<T> gate_up(gate_up_R2F, offset);
  const DeviceBuffer<T> out(num_rows * width, offset);
  gated_activation<T>(gate_up.data(), num_rows, width, out.data(), /*stream=*/nullptr, max_blocks);
  return out.to_tensor({num_rows, width});
}

template <class T>
at::Tensor backward_on_device(const at::Tensor& grad_out_RF, const at::Tensor& gate_up_R2F,
                              int64_t offset, int64_t max_blocks) {
  const DeviceBuffer<T> grad_out(grad_out_RF, offset);
  const DeviceBuffer<T> gate_up(gate_up_R2F, offset);
  const DeviceBuffer<T> grad_gate_up(gate_up_R2F.numel(), offset);
  gated_activation_backward<T>(grad_out.data(), gate_up.data(), grad_out_RF.size(0),
                               grad_out_RF.size(1), grad_gate_up.data(), /*stream=*/nullptr,
                               max_blocks);
  return grad_gate_up.to_tensor(gate_up_R2F.sizes());
}

template <class T>
constexpr double tolerance() {
  // A few roundings of the mathematics, or the one of the store.
  return std::is_same_v<T, double>          ? 1e-14
         : std::is_same_v<T, float>         ? 2e-6
         : std::is_same_v<T, __nv_bfloat16> ? 8e-3
                                            : 1e-3;
}

template <class T>
class CudaGatedActivation : public testing::Test {};

using ElementTypes = testing::Types<float, double, __nv_bfloat16, __half>;
TYPED_TEST_SUITE(CudaGatedActivation, ElementTypes);

TYPED_TEST(CudaGatedActivation, EqualsTheReferenceForwardAndBackward) {
  constexpr double kTolerance = tolerance<TypeParam>();
  for (const auto& [num_rows, width] : std::initializer_list<std::tuple<int64_t, int64_t>>{
           {0, 8}, {1, 1}, {1, 8}, {7, 0}, {37, 7}, {19, 24}, {3, 301}, {2, 1032}}) {
    const auto gate_up = random_tensor({num_rows, 2 * width}, 111).mul(4).to(dtype_of<TypeParam>());
    const auto grad_out = random_tensor({num_rows, width}, 112).to(dtype_of<TypeParam>());
    const auto leaf = gate_up.clone().set_requires_grad(true);
    const auto expected = reference::gated_activation(leaf);
    expected.backward(grad_out);
    const auto out = activation_on_device<TypeParam>(gate_up, 0, kMaxBlocks);
    const auto grad = backward_on_device<TypeParam>(grad_out, gate_up, 0, kMaxBlocks);
    EXPECT_TRUE(all_close(out, expected.detach(), kTolerance, kTolerance));
    EXPECT_TRUE(all_close(grad, leaf.grad(), kTolerance, kTolerance));
    for_each_order([&] {
      for (const auto& [max_blocks, offset] :
           {std::pair<int64_t, int64_t>{1, 0}, {3, 1}, {kMaxBlocks, 0}}) {
        EXPECT_TRUE(same_bits(activation_on_device<TypeParam>(gate_up, offset, max_blocks), out));
        EXPECT_TRUE(
            same_bits(backward_on_device<TypeParam>(grad_out, gate_up, offset, max_blocks), grad));
      }
    });
  }
}

TYPED_TEST(CudaGatedActivation, FarOutItIsTheGateOrZero) {
  const auto gate =
      at::tensor({-1000.0, -200.0, -90.0, 90.0, 200.0, 1000.0}).to(dtype_of<TypeParam>());
  const auto gate_up = at::cat({gate, at::ones_like(gate)}).unsqueeze(0);
  for_each_order([&] {
    const auto out = activation_on_device<TypeParam>(gate_up, 0, kMaxBlocks);
    EXPECT_TRUE(all_close(out[0], gate.clamp_min(0), 0, 1e-35));
    const auto grad = backward_on_device<TypeParam>(at::ones_like(out), gate_up, 0, kMaxBlocks);
    EXPECT_TRUE(all_close(grad[0].narrow(0, 0, 6), gate.gt(0).to(gate.scalar_type()), 0, 1e-35));
    EXPECT_TRUE(all_close(grad[0].narrow(0, 6, 6), gate.clamp_min(0), 0, 1e-35));
  });
}

TYPED_TEST(CudaGatedActivation, NotANumberStaysSo) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const auto gate_up = at::tensor({nan, 1.0, 1.0, nan}).unsqueeze(0).to(dtype_of<TypeParam>());
  for_each_order([&] {
    EXPECT_TRUE(activation_on_device<TypeParam>(gate_up, 0, kMaxBlocks)
                    .isnan()
                    .all()
                    .template item<bool>());
  });
}

}  // namespace
}  // namespace moesaic::kernels::cuda
