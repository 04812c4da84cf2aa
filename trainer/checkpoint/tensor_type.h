// The closed list of element types of the safetensors format, and which of them are ATen's.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>
#include <optional>
#include <string_view>

namespace moesaic::trainer {

/// In the order of the format's own list. Types of less than a byte are packed.
enum class TensorType : uint8_t {
  kBool,
  kF4,
  kF6E2M3,
  kF6E3M2,
  kU8,
  kI8,
  kF8E5M2,
  kF8E4M3,
  kF8E8M0,
  kF8E4M3Fnuz,
  kF8E5M2Fnuz,
  kI16,
  kU16,
  kF16,
  kBF16,
  kI32,
  kU32,
  kF32,
  kC64,
  kF64,
  kI64,
  kU64,
};

/// The name in a safetensors header, e.g. "BF16".
std::string_view tensor_type_name(TensorType type);
int64_t tensor_type_bits(TensorType type);
/// Case-sensitive; empty for a name that is not in the list.
std::optional<TensorType> find_tensor_type(std::string_view name);

/// Throws ExitError(kInternal) for a type that the format does not have.
TensorType to_tensor_type(at::ScalarType type);
/// Empty for a type that ATen does not have (F4, F6_*).
std::optional<at::ScalarType> to_scalar_type(TensorType type);

}  // namespace moesaic::trainer
