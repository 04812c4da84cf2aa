// The `kernels:` section: which implementation an operator takes where there are several.
#pragma once

namespace moesaic::kernels {

/// Grouped products on a GPU. On a CPU there is one implementation, and kAuto is the only choice.
enum class GroupedGemmKind {
  kAuto,       ///< at::_grouped_mm where it is fast, else cuBLAS
  kCublas,     ///< one cuBLAS call an expert, on several streams
  kGroupedMm,  ///< at::_grouped_mm; weight gradients by cuBLAS, which adds in float32
};

struct KernelOptions {
  GroupedGemmKind grouped_gemm = GroupedGemmKind::kAuto;

  template <typename Visitor>
  void describe(Visitor& visitor) {
    visitor.choice("grouped_gemm", grouped_gemm,
                   {{"auto", GroupedGemmKind::kAuto},
                    {"cublas", GroupedGemmKind::kCublas},
                    {"grouped_mm", GroupedGemmKind::kGroupedMm}},
                   {.help = "Products of the experts on a GPU: cublas is one call an expert; "
                            "grouped_mm one for all (bfloat16 on Hopper or Blackwell, widths that "
                            "are multiples of 8); auto takes the faster one that can be had. On a "
                            "CPU only auto.",
                    .may_change_on_resume = true});
  }
};

}  // namespace moesaic::kernels
