#!/usr/bin/env bash
# devices.sh BINARY: what a user hears who asks a build without CUDA kernels for a GPU.
. "$(dirname "$0")/harness.sh"
prepare_data
golden=$source_dir/tests/golden/olmoe

say "trainer.device"
run 78 1 "${train[@]}" --trainer.device=cuda --trainer.run_dir=runs/cuda
complains '^moesaic: --trainer\.device=cuda: trainer\.device cuda is not possible: this build'
run 78 2 parity "$golden" --trainer.device=cuda
complains 'trainer\.device cuda is not possible'
check "said once" test "$(grep -c 'is not possible' err)" = 1
run 78 1 eval "$golden" --data data/validation --trainer.device=cuda
run 78 1 generate "$golden" --trainer.device=cuda
run 78 1 "${train[@]}" --trainer.device=gpu
complains 'auto, cpu, cuda'
train+=(--trainer.max_steps=1 --lr_schedule.warmup_steps=1)
run 0 1 "${train[@]}" --trainer.run_dir=runs/auto
prints 'device: cpu \(this build has no CUDA kernels'
run 0 1 "${train[@]}" --trainer.run_dir=runs/cpu --trainer.device=cpu
prints 'device: cpu$'

say "kernels.grouped_gemm"
for kind in cublas grouped_mm; do
  run 78 1 parity "$golden" --kernels.grouped_gemm=$kind
  complains "kernels\\.grouped_gemm $kind works on a GPU only"
done
run 0 1 parity "$golden" --kernels.grouped_gemm=auto
run 78 1 parity "$golden" --kernels.grouped_gemm=cutlass
complains 'auto, cublas, grouped_mm'

say "--kernel-log"
for verb in "parity $golden" "eval $golden --data data/validation" "generate $golden"; do
  # shellcheck disable=SC2086  # the words of a command
  run 64 1 $verb --kernel-log
  complains 'this build has no CUDA kernels'
done
run 64 1 "${train[@]}" --kernel-log
check "nothing was written" test ! -e runs/cuda
exit $failures
