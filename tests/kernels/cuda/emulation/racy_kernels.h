// Kernels with a missing barrier, fence or atomic, and beside each the same kernel without the
// fault.
#pragma once

#include <cstdint>

namespace moesaic::tests {

/// Thread 0 writes a shared value, every thread hands it out. Right by luck in the forward order.
void run_share_value(bool with_barrier, int num_threads, int* out);

/// Thread i hands out what thread i + 1 of its warp wrote, after a shuffle, which orders no memory.
/// Without __syncwarp it is right in all orders of a fiber, and still a race.
void run_read_neighbour(bool with_syncwarp, int* out);

/// All threads set one shared flag to the same value, plainly or by an atomic operation.
void run_set_flag(bool with_atomic, int* out);

/// Rounds of a write, a barrier and a read; without the second barrier a fast warp overtakes.
void run_rounds(bool with_second_barrier, int num_rounds, int* out);

/// Every block writes the same number to the same places, or each to its own.
void run_blocks_write(bool own_places, int num_blocks, int* out);

/// Blocks add to a sum; the last one to come, by a counter, reads it. Without the fence a race.
void run_last_block(bool with_fence, int num_blocks, int* partial, unsigned* num_done, int* sum);

}  // namespace moesaic::tests
