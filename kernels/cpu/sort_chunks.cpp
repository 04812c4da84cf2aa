// Chunks into the other order on the CPU: threads take rows of the result, which they copy in runs.
//
// Shape letters: kernels/ops.h.
#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <torch/library.h>

#include <algorithm>
#include <cstring>
#include <vector>

namespace moesaic::kernels::cpu {
namespace {

constexpr int64_t kBytesPerTask = int64_t{128} << 10;

struct Chunk {
  int64_t begin;   // in the result
  int64_t source;  // in the input
  int64_t size;
};

/// The chunks that have rows, in the order of the result.
std::vector<Chunk> sorted_chunks(const at::Tensor& counts_AB) {
  const auto counts = counts_AB.contiguous();
  const auto* count = counts.const_data_ptr<int64_t>();
  std::vector<int64_t> source(static_cast<size_t>(counts.numel()) + 1, 0);
  for (size_t i = 0; i + 1 < source.size(); ++i) {
    source[i + 1] = source[i] + count[i];
  }
  std::vector<Chunk> chunks;
  int64_t begin = 0;
  for (int64_t b = 0; b < counts.size(1); ++b) {
    for (int64_t a = 0; a < counts.size(0); ++a) {
      const int64_t position = a * counts.size(1) + b;
      if (count[position] > 0) {
        chunks.push_back({begin, source[static_cast<size_t>(position)], count[position]});
        begin += count[position];
      }
    }
  }
  return chunks;
}

at::Tensor sort_chunks_cpu(const at::Tensor& rows_RD, const at::Tensor& counts_AB) {
  const auto rows = rows_RD.contiguous();
  const auto sorted_RD = at::empty(rows.sizes(), rows.options());
  const auto chunks = sorted_chunks(counts_AB);
  const int64_t row_bytes = rows.size(1) * static_cast<int64_t>(rows.element_size());
  const int64_t rows_per_task = kBytesPerTask / std::max<int64_t>(row_bytes, 1) + 1;
  const auto* from = static_cast<const char*>(rows.const_data_ptr());
  auto* to = static_cast<char*>(sorted_RD.mutable_data_ptr());
  at::parallel_for(0, rows.size(0), rows_per_task, [&](int64_t begin, int64_t end) {
    auto chunk = std::ranges::upper_bound(chunks, begin, {}, &Chunk::begin) - 1;
    for (int64_t row = begin; row < end; ++chunk) {
      const int64_t chunk_end = std::min(end, chunk->begin + chunk->size);
      std::memcpy(to + row * row_bytes, from + (chunk->source + row - chunk->begin) * row_bytes,
                  static_cast<size_t>((chunk_end - row) * row_bytes));
      row = chunk_end;
    }
  });
  return sorted_RD;
}

}  // namespace
}  // namespace moesaic::kernels::cpu

TORCH_LIBRARY_IMPL(moesaic, CPU, m) {
  m.impl("sort_chunks", &moesaic::kernels::cpu::sort_chunks_cpu);
}
