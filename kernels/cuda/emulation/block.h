// The block that runs: its threads, who waits for what, and the change from one to the next.
//
// One block at a time, one thread at a time, all on the launching thread of the host. A thread runs
// until it waits (or an order says otherwise) and switches straight to the next one. A thread that
// ends without having waited leaves its stack to the next, so a block without barriers needs one.
#pragma once

#include <cuda_runtime_api.h>

#include <array>
#include <cstdint>
#include <exception>
#include <optional>
#include <string>

#include "kernels/cuda/emulation/device_interface.h"
#include "kernels/cuda/emulation/fiber.h"
#include "kernels/cuda/emulation/happens_before.h"
#include "kernels/cuda/emulation/kernel_fault.h"
#include "kernels/cuda/emulation/shared_memory.h"
#include "kernels/cuda/emulation/thread_order.h"

namespace moesaic::kernels::cuda::emulation {

/// What to run: as given to launch().
struct Launch {
  const void* kernel = nullptr;
  dim3 grid;
  dim3 block;
  const void* call = nullptr;
  void (*run)(const void* call) = nullptr;
};

struct Thread {
  uint3 index{};
  Fiber* fiber = nullptr;  // null before it starts and after it ends
  Identity identity = nullptr;
  const char* waits_in = nullptr;  // "__syncthreads", or null
  unsigned mask = 0;               // of the warp operation it waits in
  Site site;                       // where it waits, or waited last
};

/// A warp operation that some lanes of `mask` have come to.
struct Rendezvous {
  WarpOperation operation;
  unsigned mask;
  unsigned arrived;
  int num_inside;  // lanes that have yet to leave: then the slot is free
  int width;
  Site site;
  HappensBefore order;
};

struct Warp {
  unsigned lanes = 0;  // that exist
  unsigned exited = 0;
  unsigned open = 0;  // slots of rendezvous not yet complete
  unsigned used = 0;  // slots not free
  std::array<Rendezvous, kWarpSize> rendezvous;
  std::array<uint64_t, kWarpSize> values;
  std::array<uint64_t, kWarpSize> results;
  std::array<unsigned, kWarpSize> arguments;  // source lane, delta or lane mask of a shuffle
};

class Block {
 public:
  /// Runs all blocks of a launch. Throws KernelFault, or what the kernel threw.
  void run_grid(const Launch& launch, ThreadOrder& order);

  // Called by the running thread, on its own stack.
  int barrier(BarrierKind kind, int predicate, Site site);
  uint64_t warp_operation(WarpOperation operation, unsigned mask, uint64_t value, unsigned argument,
                          int width, Site site);
  void fence(Site site);
  void atomic_point(Site site);
  [[noreturn]] void fault(const std::string& what, Site site);
  void* dynamic_shared() const { return shared_.dynamic(); }
  SharedMemory& shared() { return shared_; }

 private:
  void run_block(uint64_t linear_block, Identity* identities);
  void abandon();
  [[noreturn]] static void run_threads();
  void end_thread();
  void wait(const char* operation, unsigned mask, Site site);
  void hand_over();
  void change_to(int next);
  void start(int thread, Fiber& fiber);
  void start_on_new_stack(int thread);
  void enter(int thread);
  void got_on() { num_idle_atomics_ = 0; }
  [[noreturn]] void return_to_launcher();
  [[noreturn]] void fault_of_deadlock();

  void prepare_threads();
  void fresh_block(int num_warps);

  Rendezvous& meet(Warp& warp, unsigned lane, WarpOperation operation, unsigned mask, int width,
                   Site site);
  void check_lanes(const Warp& warp, unsigned lane, unsigned mask, const char* operation,
                   Site site);
  void check_others(const Warp& warp, unsigned lane, unsigned mask, const char* operation,
                    Site site);
  void check_nobody_waits_for(int thread);
  void make_runnable(int warp, unsigned lanes) { runnable_[warp] |= lanes; }

  std::string thread_name(int thread) const;

  const Launch* launch_ = nullptr;
  ThreadOrder* order_ = nullptr;
  SharedMemory shared_;
  FiberPool fibers_;
  IdentityPool identities_;
  Fiber launcher_;
  Identity launcher_identity_ = nullptr;

  int num_threads_ = 0;
  int num_exited_ = 0;
  int current_ = -1;
  int first_exited_ = -1;
  RunnableThreads runnable_{};
  std::array<Thread, kMaxThreads> threads_;
  std::array<Warp, kMaxWarps> warps_;

  struct BarrierState {
    int num_arrived = 0;
    int first_thread = -1;
    BarrierKind kind = BarrierKind::kPlain;
    Site site;
    unsigned phase =
        0;  // its lowest bit: threads may leave one barrier when others are at the next
    int num_true = 0;
    std::array<int, 2> results{};
    std::array<HappensBefore, 2> order;
  } barrier_;

  HappensBefore
      launch_order_;  // the launching thread's past, known to every thread; then theirs to it
  HappensBefore fence_order_;
  uint64_t num_idle_atomics_ = 0;

  std::optional<KernelFault> fault_;
  std::exception_ptr exception_;
};

/// The text of a site, "FILE:LINE", and whether two are the same place.
std::string place(Site site);
bool is_same(Site a, Site b);

/// The one block of the process. Guarded by the mutex of run_kernel.
Block& block();

}  // namespace moesaic::kernels::cuda::emulation
