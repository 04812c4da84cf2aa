#!/usr/bin/env bash
# emulated_training.sh EMULATED CPU: 20 steps of configs/tiny.yaml with the same seed. The losses of
# the emulated CUDA kernels are those of the CPU's operators to 1e-5.
on_cpu=$(realpath "${2:?the binary without emulation}")
. "$(dirname "$0")/harness.sh"
emulated=$binary
prepare_data

losses() { grep -o '"loss":[^,}]*' "$1/metrics.jsonl" | cut -d: -f2; }
same_losses() {
  [ "$(losses "$1" | wc -l)" = 20 ] && paste <(losses "$1") <(losses "$2") |
    awk 'NF != 2 || $1 - $2 > 1e-5 || $2 - $1 > 1e-5 || $1 + 0 <= 0 {print; bad = 1} END {exit bad}'
}

for ranks in 1 2; do
  say "training through emulated kernels: $ranks ranks"
  binary=$on_cpu
  run 0 $ranks "${train[@]}" "--parallel.expert=$ranks" --trainer.run_dir=runs/cpu-$ranks
  binary=$emulated
  run 0 $ranks "${train[@]}" "--parallel.expert=$ranks" --trainer.run_dir=runs/emulated-$ranks \
    --kernel-log
  prints '^  route_tokens_kernel +[1-9][0-9]*$'
  check "20 equal losses" same_losses runs/emulated-$ranks runs/cpu-$ranks
done

say "the comparison would see another seed"
binary=$on_cpu
run 0 1 "${train[@]}" --trainer.run_dir=runs/other --trainer.seed=1
different_losses() { ! same_losses runs/emulated-1 runs/other >/dev/null; }
check "other losses" different_losses
binary=$emulated

say "evaluation and generation through emulated kernels"
checkpoint=$(newest_checkpoint runs/emulated-1)
run 0 1 eval "$checkpoint" --data data/validation --data.sequence_length=32 --kernel-log
prints '^  permute_tokens_kernel +[1-9][0-9]*$'
run 0 1 generate "$checkpoint" --prompt the --max-new-tokens 4 --kernel-log
prints '^  unpermute_tokens_kernel +[1-9][0-9]*$'
run 78 1 "${train[@]}" --trainer.device=cuda --trainer.run_dir=runs/cuda
complains 'trainer\.device cuda is not possible: this build emulates the CUDA kernels'
exit $failures
