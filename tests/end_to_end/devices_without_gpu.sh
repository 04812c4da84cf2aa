#!/usr/bin/env bash
# devices_without_gpu.sh BINARY: what a user of a build with CUDA kernels hears on a machine that
# has no GPU, or hides it.
export CUDA_VISIBLE_DEVICES=
. "$(dirname "$0")/harness.sh"
prepare_data
golden=$source_dir/tests/golden/olmoe

say "trainer.device"
run 0 1 --version
run 78 1 "${train[@]}" --trainer.device=cuda --trainer.run_dir=runs/cuda
complains '^moesaic: --trainer\.device=cuda: trainer\.device cuda is not possible: no GPU can be'
check "nothing was written" test ! -e runs/cuda
run 78 2 parity "$golden" --trainer.device=cuda
check "said once" test "$(grep -c 'is not possible' err)" = 1
run 78 1 eval "$golden" --data data/validation --trainer.device=cuda
run 78 1 generate "$golden" --trainer.device=cuda
run 78 1 bench operators --trainer.device=cuda
complains 'no GPU can be used'

say "auto is the CPU"
train+=(--trainer.max_steps=2 --lr_schedule.warmup_steps=1)
run 0 1 "${train[@]}" --trainer.run_dir=runs/auto
prints 'device: cpu \(no GPU can be used'
run 0 2 "${train[@]}" --trainer.run_dir=runs/two --parallel.expert=2
run 0 1 parity "$golden"
run 78 1 parity "$golden" --kernels.grouped_gemm=cublas
complains 'kernels\.grouped_gemm cublas works on a GPU only'
exit $failures
