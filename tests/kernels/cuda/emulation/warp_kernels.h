// One kernel a family of warp operations; each lane hands out what it got.
#pragma once

#include <cstdint>

namespace moesaic::tests {

enum class Shuffle { kIndex, kUp, kDown, kXor };

/// One warp: lane l hands in values[l] and gets results[l].
template <class T>
void run_shuffle(Shuffle kind, const T* values, int argument, int width, T* results);

/// One warp: lane l reads lane 31 - l of a __nv_bfloat16 made of its number.
void run_shuffle_bfloat16(float* results);

struct Votes {
  unsigned ballot;
  int any, all;
};

/// Lanes of `mask` vote on predicates' bits; the others do not take part.
void run_votes(unsigned mask, unsigned predicates, Votes* votes);

struct Matches {
  unsigned any;  // of the lane's own int
  unsigned any_float;
  unsigned any_long;
  unsigned all;
  int is_all;
};

void run_matches(unsigned mask, const int* values, Matches* matches);

struct Reductions {
  int add, min, max;
  unsigned unsigned_add, unsigned_min, unsigned_max, bit_and, bit_or, bit_xor;
};

void run_reductions(unsigned mask, const int* values, Reductions* reductions);

/// `num_threads` threads in warps: even and odd lanes sum their numbers apart, at the same time,
/// with masks of their own and different numbers of steps.
void run_half_sums(int num_threads, int* sums);

/// Adds numbers of `num_threads` (a multiple of 32) over shuffles and shared memory.
void run_block_sum(int num_threads, const float* values, float* sum);

}  // namespace moesaic::tests
