#include "kernels/cuda/expert_streams.h"

#include <ATen/cuda/CUDAEvent.h>
#include <c10/util/Exception.h>

#include <exception>
#include <map>
#include <mutex>

namespace moesaic::kernels::cuda {
namespace {

using Streams = std::array<c10::cuda::CUDAStream, ExpertStreams::kNumStreams>;

const Streams& streams_of(c10::DeviceIndex device) {
  static std::mutex mutex;
  static std::map<c10::DeviceIndex, Streams> streams;
  const std::lock_guard lock(mutex);
  const auto found = streams.find(device);
  if (found != streams.end()) {
    return found->second;
  }
  const auto next = [&] { return c10::cuda::getStreamFromPool(/*isHighPriority=*/false, device); };
  return streams.emplace(device, Streams{next(), next(), next(), next()}).first->second;
}

}  // namespace

ExpertStreams::ExpertStreams(c10::DeviceIndex device)
    : current_(c10::cuda::getCurrentCUDAStream(device)), streams_(streams_of(device)) {
  at::cuda::CUDAEvent begun;
  begun.record(current_);
  for (const auto& stream : streams_) {
    begun.block(stream);
  }
}

ExpertStreams::~ExpertStreams() {
  for (const auto& stream : streams_) {
    try {
      at::cuda::CUDAEvent done;
      done.record(stream);
      done.block(current_);
    } catch (const std::exception& error) {
      TORCH_WARN("grouped_gemm: waiting on the host for a stream of the experts: ", error.what());
      static_cast<void>(cudaStreamSynchronize(stream.stream()));
    }
  }
}

}  // namespace moesaic::kernels::cuda
