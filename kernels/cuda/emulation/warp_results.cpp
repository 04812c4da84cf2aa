#include "kernels/cuda/emulation/warp_results.h"

#include <algorithm>
#include <bit>
#include <functional>

namespace moesaic::kernels::cuda::emulation {
namespace {

template <class Function>
void for_each_lane(unsigned mask, Function function) {
  for (; mask; mask &= mask - 1) {
    function(static_cast<unsigned>(std::countr_zero(mask)));
  }
}

void give_all(Warp& warp, unsigned mask, uint64_t result) {
  for_each_lane(mask, [&](unsigned lane) { warp.results[lane] = result; });
}

// The lane a shuffle reads: its own where the source lies outside its segment of `width` lanes.
unsigned source_lane(WarpOperation operation, unsigned lane, unsigned argument, unsigned width) {
  const unsigned first = lane & ~(width - 1);
  const unsigned in_segment = lane & (width - 1);
  switch (operation) {
    case WarpOperation::kShuffle:
      return first + (argument & (width - 1));
    case WarpOperation::kShuffleUp:
      return in_segment >= argument ? lane - argument : lane;
    case WarpOperation::kShuffleDown:
      return argument < width - in_segment ? lane + argument : lane;
    default: {
      // CUDA lets xor reach into earlier segments, not into later ones.
      const unsigned source = lane ^ argument;
      return source < first + width ? source : lane;
    }
  }
}

std::string shuffle(Warp& warp, const Rendezvous& meeting) {
  const auto width = static_cast<unsigned>(meeting.width);
  if (!std::has_single_bit(width) || width > kWarpSize) {
    return std::string(name_of(meeting.operation)) + " with width " +
           std::to_string(meeting.width) + ", which is no power of two up to 32";
  }
  std::string wrong;
  for_each_lane(meeting.mask, [&](unsigned lane) {
    const unsigned source = source_lane(meeting.operation, lane, warp.arguments[lane], width);
    if (source >= kWarpSize || !(meeting.mask >> source & 1)) {
      wrong = std::string(name_of(meeting.operation)) + ": lane " + std::to_string(lane) +
              " reads lane " + std::to_string(source) + ", which the mask leaves out";
      return;
    }
    warp.results[lane] = warp.values[source];
  });
  return wrong;
}

unsigned ballot(const Warp& warp, unsigned mask) {
  unsigned lanes = 0;
  for_each_lane(mask, [&](unsigned lane) { lanes |= (warp.values[lane] != 0) << lane; });
  return lanes;
}

unsigned lanes_with(const Warp& warp, unsigned mask, uint64_t value) {
  unsigned lanes = 0;
  for_each_lane(mask, [&](unsigned lane) { lanes |= (warp.values[lane] == value) << lane; });
  return lanes;
}

template <class Value, class Combine>
void reduce(Warp& warp, unsigned mask, Combine combine) {
  auto result = static_cast<Value>(warp.values[std::countr_zero(mask)]);
  for_each_lane(mask & (mask - 1), [&](unsigned lane) {
    result = static_cast<Value>(combine(result, static_cast<Value>(warp.values[lane])));
  });
  give_all(warp, mask, static_cast<unsigned>(result));
}

}  // namespace

const char* name_of(WarpOperation operation) {
  static constexpr const char* kNames[] = {
      "__syncwarp",        "__shfl_sync",       "__shfl_up_sync",    "__shfl_down_sync",
      "__shfl_xor_sync",   "__ballot_sync",     "__any_sync",        "__all_sync",
      "__match_any_sync",  "__match_all_sync",  "__reduce_add_sync", "__reduce_add_sync",
      "__reduce_min_sync", "__reduce_min_sync", "__reduce_max_sync", "__reduce_max_sync",
      "__reduce_and_sync", "__reduce_or_sync",  "__reduce_xor_sync"};
  return kNames[static_cast<int>(operation)];
}

std::string work_out_results(Warp& warp, const Rendezvous& meeting) {
  const unsigned mask = meeting.mask;
  const auto smaller = [](auto a, auto b) { return std::min(a, b); };
  const auto greater = [](auto a, auto b) { return std::max(a, b); };
  switch (meeting.operation) {
    case WarpOperation::kSync:
      break;
    case WarpOperation::kShuffle:
    case WarpOperation::kShuffleUp:
    case WarpOperation::kShuffleDown:
    case WarpOperation::kShuffleXor:
      return shuffle(warp, meeting);
    case WarpOperation::kBallot:
      give_all(warp, mask, ballot(warp, mask));
      break;
    case WarpOperation::kAny:
      give_all(warp, mask, ballot(warp, mask) != 0);
      break;
    case WarpOperation::kAll:
      give_all(warp, mask, ballot(warp, mask) == mask);
      break;
    case WarpOperation::kMatchAny:
      for_each_lane(mask, [&](unsigned lane) {
        warp.results[lane] = lanes_with(warp, mask, warp.values[lane]);
      });
      break;
    case WarpOperation::kMatchAll: {
      const uint64_t first = warp.values[std::countr_zero(mask)];
      give_all(warp, mask, lanes_with(warp, mask, first) == mask ? mask : 0);
      break;
    }
    case WarpOperation::kReduceAddSigned:
    case WarpOperation::kReduceAddUnsigned:
      reduce<unsigned>(warp, mask, std::plus<>());
      break;
    case WarpOperation::kReduceMinSigned:
      reduce<int>(warp, mask, smaller);
      break;
    case WarpOperation::kReduceMinUnsigned:
      reduce<unsigned>(warp, mask, smaller);
      break;
    case WarpOperation::kReduceMaxSigned:
      reduce<int>(warp, mask, greater);
      break;
    case WarpOperation::kReduceMaxUnsigned:
      reduce<unsigned>(warp, mask, greater);
      break;
    case WarpOperation::kReduceAnd:
      reduce<unsigned>(warp, mask, std::bit_and<>());
      break;
    case WarpOperation::kReduceOr:
      reduce<unsigned>(warp, mask, std::bit_or<>());
      break;
    case WarpOperation::kReduceXor:
      reduce<unsigned>(warp, mask, std::bit_xor<>());
      break;
  }
  return "";
}

}  // namespace moesaic::kernels::cuda::emulation
