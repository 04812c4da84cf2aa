#include "kernels/grouped_gemm_choice.h"

#include <atomic>

namespace moesaic::kernels {
namespace {

std::atomic<GroupedGemmKind> chosen = GroupedGemmKind::kAuto;

bool is_fast(const GroupedGemmPlace& place) {
  return place.dtype == at::kBFloat16 && (place.gpu_generation == 9 || place.gpu_generation == 10);
}

}  // namespace

std::string why_not(GroupedGemmKind kind, const GroupedGemmPlace& place) {
  if (kind == GroupedGemmKind::kAuto) {
    return "";
  }
  if (place.gpu_generation == 0) {
    return "works on a GPU only, and this run is on the CPU, whose one implementation is auto";
  }
  if (kind == GroupedGemmKind::kGroupedMm && !is_fast(place)) {
    return std::string("needs bfloat16 on a GPU of compute capability 9 or 10; here it is ") +
           c10::toString(place.dtype) + " and " + std::to_string(place.gpu_generation);
  }
  return "";
}

bool takes_grouped_mm(GroupedGemmKind kind, const GroupedGemmPlace& place) {
  return kind != GroupedGemmKind::kCublas && is_fast(place);
}

void set_grouped_gemm(GroupedGemmKind kind) {
  chosen = kind;
}

GroupedGemmKind chosen_grouped_gemm() {
  return chosen;
}

}  // namespace moesaic::kernels
