// The sizes of what is measured, with the defaults of `moesaic bench`.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>
#include <string>

namespace moesaic::trainer {

/// Shape letters of kernels/ops.h in the comments.
struct BenchShape {
  int64_t tokens = 4096;            ///< T
  int64_t hidden_size = 512;        ///< D
  int64_t num_experts = 64;         ///< E
  int64_t top_k = 8;                ///< K
  int64_t intermediate_size = 256;  ///< F
  int64_t vocab_size = 4096;        ///< V, of linear_cross_entropy alone
  c10::ScalarType dtype = c10::ScalarType::Float;

  /// R: nothing is dropped.
  int64_t rows() const { return tokens * top_k; }
};

/// max(float32, dtype).
c10::ScalarType accumulation_dtype(c10::ScalarType dtype);

/// "float32"; throws ExitError(kUsage) for a name that is no type of this program.
c10::ScalarType dtype_of(const std::string& name);
std::string dtype_name(c10::ScalarType dtype);

/// Throws ExitError(kUsage) where no layer has these sizes, or one would not fit any memory.
void check_shape(const BenchShape& shape);

}  // namespace moesaic::trainer
