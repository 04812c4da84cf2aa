// The flag that a kernel raises when a plan names a row past the end, and its way to the host.
#pragma once

#include <ATen/Functions.h>

namespace moesaic::kernels::cuda {

/// One int32 on the device, 0 until a kernel has found a foreign row.
class ForeignRowFlag {
 public:
  explicit ForeignRowFlag(const at::TensorOptions& options)
      : flag_(at::zeros({1}, options.dtype(at::kInt))) {}

  int* pointer() const { return flag_.mutable_data_ptr<int>(); }

  /// Throws c10::Error if it was raised. HAZARD: waits for the kernels of the stream.
  void check(const char* op, int64_t num_rows) const {
    TORCH_CHECK_INDEX(flag_.item<int>() == 0, op,
                      ": row_of_choice_TK names a row that is not in [0, ", num_rows, ")");
  }

 private:
  at::Tensor flag_;
};

}  // namespace moesaic::kernels::cuda
