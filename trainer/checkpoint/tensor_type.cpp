#include "trainer/checkpoint/tensor_type.h"

#include <array>
#include <string>

#include "trainer/exit_code.h"

namespace moesaic::trainer {
namespace {

struct Row {
  TensorType type;
  std::string_view name;
  int64_t bits;
  std::optional<at::ScalarType> scalar_type;
};

// Row i describes the i-th enumerator.
constexpr std::array<Row, 22> kRows{{
    {TensorType::kBool, "BOOL", 8, at::ScalarType::Bool},
    {TensorType::kF4, "F4", 4, std::nullopt},
    {TensorType::kF6E2M3, "F6_E2M3", 6, std::nullopt},
    {TensorType::kF6E3M2, "F6_E3M2", 6, std::nullopt},
    {TensorType::kU8, "U8", 8, at::ScalarType::Byte},
    {TensorType::kI8, "I8", 8, at::ScalarType::Char},
    {TensorType::kF8E5M2, "F8_E5M2", 8, at::ScalarType::Float8_e5m2},
    {TensorType::kF8E4M3, "F8_E4M3", 8, at::ScalarType::Float8_e4m3fn},
    {TensorType::kF8E8M0, "F8_E8M0", 8, at::ScalarType::Float8_e8m0fnu},
    {TensorType::kF8E4M3Fnuz, "F8_E4M3FNUZ", 8, at::ScalarType::Float8_e4m3fnuz},
    {TensorType::kF8E5M2Fnuz, "F8_E5M2FNUZ", 8, at::ScalarType::Float8_e5m2fnuz},
    {TensorType::kI16, "I16", 16, at::ScalarType::Short},
    {TensorType::kU16, "U16", 16, at::ScalarType::UInt16},
    {TensorType::kF16, "F16", 16, at::ScalarType::Half},
    {TensorType::kBF16, "BF16", 16, at::ScalarType::BFloat16},
    {TensorType::kI32, "I32", 32, at::ScalarType::Int},
    {TensorType::kU32, "U32", 32, at::ScalarType::UInt32},
    {TensorType::kF32, "F32", 32, at::ScalarType::Float},
    {TensorType::kC64, "C64", 64, at::ScalarType::ComplexFloat},
    {TensorType::kF64, "F64", 64, at::ScalarType::Double},
    {TensorType::kI64, "I64", 64, at::ScalarType::Long},
    {TensorType::kU64, "U64", 64, at::ScalarType::UInt64},
}};

const Row& row_of(TensorType type) {
  return kRows[static_cast<size_t>(type)];
}

}  // namespace

std::string_view tensor_type_name(TensorType type) {
  return row_of(type).name;
}

int64_t tensor_type_bits(TensorType type) {
  return row_of(type).bits;
}

std::optional<TensorType> find_tensor_type(std::string_view name) {
  for (const auto& row : kRows) {
    if (row.name == name)
      return row.type;
  }
  return std::nullopt;
}

TensorType to_tensor_type(at::ScalarType type) {
  for (const auto& row : kRows) {
    if (row.scalar_type == type)
      return row.type;
  }
  throw ExitError(ExitCode::kInternal,
                  std::string("safetensors has no element type for ") + c10::toString(type));
}

std::optional<at::ScalarType> to_scalar_type(TensorType type) {
  return row_of(type).scalar_type;
}

}  // namespace moesaic::trainer
