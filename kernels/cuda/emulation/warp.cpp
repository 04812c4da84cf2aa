// Warp operations: the lanes of a mask meet, the last to come works out everybody's result.
//
// There is no hidden lockstep, as on Volta and later. Only __syncwarp orders memory.
#include <bit>
#include <sstream>

#include "kernels/cuda/emulation/block.h"
#include "kernels/cuda/emulation/warp_results.h"

namespace moesaic::kernels::cuda::emulation {
namespace {

std::string in_hex(unsigned mask) {
  std::ostringstream text;
  text << "0x" << std::hex << mask;
  return text.str();
}

bool has(unsigned mask, unsigned lane) {
  return mask >> lane & 1;
}

}  // namespace

uint64_t Block::warp_operation(WarpOperation operation, unsigned mask, uint64_t value,
                               unsigned argument, int width, Site site) {
  Warp& warp = warps_[current_ / kWarpSize];
  const unsigned lane = static_cast<unsigned>(current_) % kWarpSize;
  check_lanes(warp, lane, mask, name_of(operation), site);
  warp.values[lane] = value;
  warp.arguments[lane] = argument;
  Rendezvous& meeting = meet(warp, lane, operation, mask, width, site);
  const unsigned slot = static_cast<unsigned>(&meeting - warp.rendezvous.data());
  const bool orders_memory = operation == WarpOperation::kSync;
  if (meeting.arrived != mask) {
    wait(name_of(operation), mask, site);
  } else {
    const std::string wrong = work_out_results(warp, meeting);
    if (!wrong.empty()) {
      fault(wrong, site);
    }
    warp.open &= ~(1u << slot);
    got_on();
    make_runnable(current_ / kWarpSize, mask);
    hand_over();
  }
  if (orders_memory) {
    meeting.order.acquire();
  }
  if (--meeting.num_inside == 0) {
    warp.used &= ~(1u << slot);
  }
  return warp.results[lane];
}

// The open rendezvous of this mask, or a new one; notes that the lane has come.
Rendezvous& Block::meet(Warp& warp, unsigned lane, WarpOperation operation, unsigned mask,
                        int width, Site site) {
  for (unsigned open = warp.open; open; open &= open - 1) {
    Rendezvous& meeting = warp.rendezvous[std::countr_zero(open)];
    if (meeting.mask != mask) {
      continue;
    }
    if (meeting.operation != operation || !is_same(meeting.site, site) || meeting.width != width) {
      fault(std::string("lanes of mask ") + in_hex(mask) + " diverge: " + name_of(operation) +
                " here, but lane " + std::to_string(std::countr_zero(meeting.arrived)) +
                " waits in " + name_of(meeting.operation) + " at " + place(meeting.site),
            site);
    }
    meeting.arrived |= 1u << lane;
    meeting.order.release();
    return meeting;
  }
  check_others(warp, lane, mask, name_of(operation), site);
  const int slot = std::countr_one(warp.used);
  warp.used |= 1u << slot;
  warp.open |= 1u << slot;
  Rendezvous& meeting = warp.rendezvous[slot];
  meeting.operation = operation;
  meeting.mask = mask;
  meeting.arrived = 1u << lane;
  meeting.num_inside = std::popcount(mask);
  meeting.width = width;
  meeting.site = site;
  meeting.order.release_first();
  return meeting;
}

void Block::check_lanes(const Warp& warp, unsigned lane, unsigned mask, const char* operation,
                        Site site) {
  const auto refuse = [&](const std::string& why) {
    fault(std::string(operation) + " with mask " + in_hex(mask) + why, site);
  };
  const auto first_of = [](unsigned lanes) { return std::to_string(std::countr_zero(lanes)); };
  if (!has(mask, lane)) {
    refuse(" is called by lane " + std::to_string(lane) + ", which the mask leaves out");
  }
  if (const unsigned absent = mask & ~warp.lanes) {
    refuse(" names lane " + first_of(absent) + ", which this warp does not have");
  }
  if (const unsigned exited = mask & warp.exited) {
    refuse(" names lane " + first_of(exited) + ", which has ended");
  }
}

// Two lanes that wait for each other with different masks wait forever.
void Block::check_others(const Warp& warp, unsigned lane, unsigned mask, const char* operation,
                         Site site) {
  for (unsigned open = warp.open; open; open &= open - 1) {
    const Rendezvous& meeting = warp.rendezvous[std::countr_zero(open)];
    if (const unsigned both = meeting.arrived & mask; both && has(meeting.mask, lane)) {
      fault(std::string(operation) + " with mask " + in_hex(mask) + ", but lane " +
                std::to_string(std::countr_zero(both)) + " waits with mask " +
                in_hex(meeting.mask) + " in " + name_of(meeting.operation) + " at " +
                place(meeting.site),
            site);
    }
  }
}

}  // namespace moesaic::kernels::cuda::emulation
