// How a block reports what is wrong, and the faults that concern threads that no longer run.
#include <bit>
#include <cstring>
#include <map>
#include <sstream>

#include "kernels/cuda/emulation/block.h"
#include "kernels/cuda/kernel_registry.h"

extern "C" uint3 blockIdx;  // block.cpp

namespace moesaic::kernels::cuda::emulation {
namespace {

std::string in_brackets(const uint3& index) {
  return "(" + std::to_string(index.x) + ", " + std::to_string(index.y) + ", " +
         std::to_string(index.z) + ")";
}

}  // namespace

bool is_same(Site a, Site b) {
  return a.line == b.line && (a.file == b.file || std::strcmp(a.file, b.file) == 0);
}

std::string Block::thread_name(int thread) const {
  return "thread " + in_brackets(threads_[thread].index);
}

std::string place(Site site) {
  return std::string(site.file) + ":" + std::to_string(site.line);
}

void Block::fault(const std::string& what, Site site) {
  const auto kernel = kernel_name(launch_->kernel);
  const auto thread = "block " + in_brackets(blockIdx) + ", " + thread_name(current_);
  fault_.emplace("kernel " + kernel + ", " + thread + ": " + place(site) + ": " + what, kernel,
                 thread, site);
  return_to_launcher();
}

// The lines of the message: how many threads wait in what, where, and the first of them.
void Block::fault_of_deadlock() {
  struct Waiting {
    int first = 0;
    int num_threads = 0;
  };
  std::map<std::string, Waiting> places;
  Site site;
  for (int t = num_threads_ - 1; t >= 0; --t) {
    const Thread& thread = threads_[t];
    if (!thread.waits_in) {
      continue;
    }
    std::ostringstream text;
    text << thread.waits_in;
    if (thread.mask) {
      text << " with mask 0x" << std::hex << thread.mask;
    }
    text << " at " << place(thread.site);
    auto& waiting = places[text.str()];
    waiting.first = t;
    ++waiting.num_threads;
    site = thread.site;
  }
  std::string what = "deadlock: no thread can run";
  for (const auto& [where, waiting] : places) {
    what += "; " + std::to_string(waiting.num_threads) + " in " + where + " (" +
            thread_name(waiting.first) + ")";
  }
  if (num_exited_ > 0) {
    what += "; " + std::to_string(num_exited_) + " have ended";
  }
  fault(what, site);
}

void Block::check_nobody_waits_for(int thread) {
  if (barrier_.num_arrived > 0) {
    fault("the thread ends, but " + thread_name(barrier_.first_thread) + " waits for it in " +
              threads_[barrier_.first_thread].waits_in + " at " + place(barrier_.site),
          barrier_.site);
  }
  const Warp& warp = warps_[thread / kWarpSize];
  for (unsigned open = warp.open; open; open &= open - 1) {
    const Rendezvous& meeting = warp.rendezvous[std::countr_zero(open)];
    if (meeting.mask >> (thread % kWarpSize) & 1) {
      const int waiting = thread / kWarpSize * kWarpSize + std::countr_zero(meeting.arrived);
      fault("the lane ends, but " + thread_name(waiting) + " waits for it in " +
                threads_[waiting].waits_in + " at " + place(meeting.site),
            meeting.site);
    }
  }
}

}  // namespace moesaic::kernels::cuda::emulation
