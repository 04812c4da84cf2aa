#include "kernels/cuda/vector_access.h"

#include <gtest/gtest.h>

namespace moesaic::kernels::cuda {
namespace {

const void* address(uintptr_t value) {
  return reinterpret_cast<const void*>(value);
}

int largest_unit(int64_t row_bytes, std::initializer_list<const void*> pointers) {
  int bytes = 0;
  with_largest_unit(row_bytes, pointers, [&](auto unit) { bytes = sizeof(unit); });
  return bytes;
}

TEST(CudaVectorAccess, UnitIsTheLargestThatRowsAndPointersAllow) {
  EXPECT_EQ(largest_unit(32, {address(0x100), address(0x210)}), 16);
  EXPECT_EQ(largest_unit(24, {address(0x100), address(0x210)}), 8);
  EXPECT_EQ(largest_unit(32, {address(0x100), address(0x208)}), 8);
  EXPECT_EQ(largest_unit(32, {address(0x104), address(0x210)}), 4);
  EXPECT_EQ(largest_unit(20, {address(0x100), address(0x210)}), 4);
  EXPECT_EQ(largest_unit(34, {address(0x100), address(0x210)}), 2);
  EXPECT_EQ(largest_unit(33, {address(0x100), address(0x210)}), 1);
  EXPECT_EQ(largest_unit(32, {address(0x101), address(0x210)}), 1);
}

TEST(CudaVectorAccess, NullPointersForbidNothing) {
  EXPECT_TRUE(moves_in_units(16, 48, {address(0x10), nullptr}));
  EXPECT_FALSE(moves_in_units(16, 48, {address(0x18), nullptr}));
  EXPECT_FALSE(moves_in_units(16, 40, {nullptr}));
}

TEST(CudaVectorAccess, PacksFillSixteenBytes) {
  EXPECT_EQ(kVectorWidth<float>, 4);
  EXPECT_EQ(kVectorWidth<double>, 2);
  EXPECT_EQ(kVectorWidth<__nv_bfloat16>, 8);
  EXPECT_EQ(sizeof(Pack<__half, kVectorWidth<__half>>), 16U);
  EXPECT_EQ(alignof(Pack<__half, kVectorWidth<__half>>), 16U);
}

TEST(CudaAccumulate, RoundsToTheNearestWithTiesToEven) {
  // bfloat16 has 8 bits of mantissa, half 11.
  EXPECT_EQ(widen(round_to<__nv_bfloat16>(257.0F)), 256.0F);
  EXPECT_EQ(widen(round_to<__nv_bfloat16>(259.0F)), 260.0F);
  EXPECT_EQ(widen(round_to<__nv_bfloat16>(258.5F)), 258.0F);
  EXPECT_EQ(widen(round_to<__half>(2049.0F)), 2048.0F);
  EXPECT_EQ(widen(round_to<__half>(2051.0F)), 2052.0F);
  EXPECT_TRUE(std::isinf(widen(round_to<__half>(65520.0F))));
  EXPECT_TRUE(std::isnan(widen(round_to<__nv_bfloat16>(NAN))));
}

TEST(CudaAccumulate, ProductsAreRoundedOrFusedAsSpelled) {
  const float a = 1.0F + 0x1p-12F;  // a * a = 1 + 2^-11 + 2^-24, a tie that rounds down
  EXPECT_EQ(rounded_product(a, a), 1.0F + 0x1p-11F);
  EXPECT_EQ(fused_multiply_add(a, a, -(1.0F + 0x1p-11F)), 0x1p-24F);
}

}  // namespace
}  // namespace moesaic::kernels::cuda
