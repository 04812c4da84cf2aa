// Grouped matrix product on the CPU: the threads take (expert, block) tasks as they finish, each
// task is a GEMM of one thread.
//
// Blocks are cut by the numbers of rows alone, so a busy expert keeps all threads at work and the
// bits do not depend on how many there are (but for a single task, whose GEMM BLAS may split).
// Shape letters: kernels/ops.h; o, r: the slice of O or R of a task.
#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <torch/library.h>

#include <algorithm>
#include <atomic>
#include <vector>

namespace moesaic::kernels::cpu {
namespace {

constexpr int64_t kRowsPerTask = 512;
constexpr int64_t kMinWeightRowsPerTask = 64;

struct Task {
  int64_t expert;
  int64_t first_row;  // of the expert's run
  int64_t num_rows;
  int64_t begin;  // of the block: rows of the run, or rows of the weight gradient
  int64_t end;
};

// Each expert's work cut evenly into blocks of about kRowsPerTask rows. The blocks are ranges of
// the run itself, or, if `weight_rows` is given, of the rows of its weight. Experts without rows
// have a task only where `with_empty`.
std::vector<Task> cut_into_tasks(const at::Tensor& num_rows_e, std::optional<int64_t> weight_rows,
                                 bool with_empty) {
  const auto counts_e = num_rows_e.contiguous();
  std::vector<Task> tasks;
  int64_t first_row = 0;
  for (int64_t e = 0; e < counts_e.size(0); ++e) {
    const int64_t num_rows = counts_e.const_data_ptr<int64_t>()[e];
    const int64_t extent = weight_rows.value_or(num_rows);
    int64_t num_blocks = std::max<int64_t>((num_rows + kRowsPerTask / 2) / kRowsPerTask, 1);
    if (weight_rows.has_value()) {
      num_blocks = std::clamp<int64_t>(extent / kMinWeightRowsPerTask, 1, num_blocks);
    }
    for (int64_t block = 0; block < num_blocks && (num_rows > 0 || with_empty); ++block) {
      tasks.push_back(
          {e, first_row, num_rows, extent * block / num_blocks, extent * (block + 1) / num_blocks});
    }
    first_row += num_rows;
  }
  return tasks;
}

// Runs body(task) for all tasks; the next one goes to the first thread that is free.
template <class Body>
void run_tasks(const std::vector<Task>& tasks, const Body& body) {
  std::atomic<size_t> next = 0;
  const auto num_workers =
      std::min<int64_t>(at::get_num_threads(), static_cast<int64_t>(tasks.size()));
  at::parallel_for(0, num_workers, /*grain_size=*/1, [&](int64_t, int64_t) {
    at::AutoDispatchBelowADInplaceOrView guard;  // a worker does not inherit the caller's
    for (size_t task = next++; task < tasks.size(); task = next++) {
      body(tasks[task]);
    }
  });
}

at::Tensor grouped_gemm_cpu(const at::Tensor& rows_RI, const at::Tensor& weight_eOI,
                            const at::Tensor& num_rows_e,
                            const std::optional<at::Tensor>& /*weight_gradient_destination_eOI*/) {
  const auto out_RO = at::empty({rows_RI.size(0), weight_eOI.size(1)}, rows_RI.options());
  run_tasks(cut_into_tasks(num_rows_e, std::nullopt, /*with_empty=*/false), [&](const Task& task) {
    const int64_t begin = task.first_row + task.begin;
    const int64_t size = task.end - task.begin;
    auto out_rO = out_RO.narrow(0, begin, size);
    at::mm_out(out_rO, rows_RI.narrow(0, begin, size), weight_eOI.select(0, task.expert).t());
  });
  return out_RO;
}

at::Tensor grouped_gemm_weight_gradient_cpu(const at::Tensor& grad_out_RO,
                                            const at::Tensor& rows_RI,
                                            const at::Tensor& num_rows_e) {
  const int64_t weight_rows = grad_out_RO.size(1);
  const auto grad_weight_eOI =
      at::empty({num_rows_e.size(0), weight_rows, rows_RI.size(1)}, rows_RI.options());
  run_tasks(cut_into_tasks(num_rows_e, weight_rows, /*with_empty=*/true), [&](const Task& task) {
    auto grad_weight_oI =
        grad_weight_eOI.select(0, task.expert).narrow(0, task.begin, task.end - task.begin);
    if (task.num_rows == 0) {
      grad_weight_oI.zero_();
      return;
    }
    const auto grad_out_ro = grad_out_RO.narrow(0, task.first_row, task.num_rows)
                                 .narrow(1, task.begin, task.end - task.begin);
    at::mm_out(grad_weight_oI, grad_out_ro.t(), rows_RI.narrow(0, task.first_row, task.num_rows));
  });
  return grad_weight_eOI;
}

void grouped_gemm_weight_gradient_cpu_(at::Tensor& destination_eOI, const at::Tensor& grad_out_RO,
                                       const at::Tensor& rows_RI, const at::Tensor& num_rows_e) {
  const int64_t weight_rows = grad_out_RO.size(1);
  run_tasks(cut_into_tasks(num_rows_e, weight_rows, /*with_empty=*/false), [&](const Task& task) {
    auto destination_oI =
        destination_eOI.select(0, task.expert).narrow(0, task.begin, task.end - task.begin);
    const auto grad_out_or = grad_out_RO.narrow(0, task.first_row, task.num_rows)
                                 .narrow(1, task.begin, task.end - task.begin)
                                 .t();
    const auto rows_rI = rows_RI.narrow(0, task.first_row, task.num_rows);
    // A float32 destination gets float32 sums of half-precision products.
    destination_oI.addmm_(grad_out_or.to(destination_oI.scalar_type()),
                          rows_rI.to(destination_oI.scalar_type()));
  });
}

}  // namespace
}  // namespace moesaic::kernels::cpu

TORCH_LIBRARY_IMPL(moesaic, CPU, m) {
  m.impl("grouped_gemm", &moesaic::kernels::cpu::grouped_gemm_cpu);
  m.impl("grouped_gemm_weight_gradient", &moesaic::kernels::cpu::grouped_gemm_weight_gradient_cpu);
  m.impl("grouped_gemm_weight_gradient_",
         &moesaic::kernels::cpu::grouped_gemm_weight_gradient_cpu_);
}
