// Several streams beside the current one, for the products of experts, which do not wait for each
// other.
#pragma once

#include <c10/core/Device.h>
#include <c10/cuda/CUDAStream.h>

#include <array>
#include <cstdint>

namespace moesaic::kernels::cuda {

/// The streams wait for what the current stream has been given before the construction; from the
/// end of the object on the current stream waits for them. Memory that LibTorch allocated on the
/// current stream may be used on them in between: whatever reuses it comes after that wait.
class ExpertStreams {
 public:
  /// Few: each has a cuBLAS workspace of its own. They are the same ones in every call, so an
  /// expert meets the same workspace again and its sums the same split.
  static constexpr int kNumStreams = 4;

  explicit ExpertStreams(c10::DeviceIndex device);
  /// Also where a product threw: what it was to read and write may not be reused before.
  ~ExpertStreams();
  ExpertStreams(const ExpertStreams&) = delete;
  ExpertStreams& operator=(const ExpertStreams&) = delete;

  c10::cuda::CUDAStream of(int64_t expert) const { return streams_[expert % kNumStreams]; }

 private:
  c10::cuda::CUDAStream current_;
  std::array<c10::cuda::CUDAStream, kNumStreams> streams_;
};

}  // namespace moesaic::kernels::cuda
