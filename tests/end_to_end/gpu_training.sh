#!/usr/bin/env bash
# gpu_training.sh BINARY [DEVICE]: training on the GPU gives the same bits twice and after a resume,
# and the CPU's losses to 1e-4; what it saved evaluates and generates there as on the CPU. 77: no
# GPU. With DEVICE cpu the case itself can be tried where there is none.
. "$(dirname "$0")/harness.sh"
device=--trainer.device=${2:-cuda}
prepare_data

code=0
"$binary" "${train[@]}" "$device" --trainer.run_dir=probe --trainer.max_steps=1 \
  --lr_schedule.warmup_steps=1 >out 2>err || code=$?
if [ $code = 78 ] && [ $failures = 0 ] &&
  grep -qE 'no GPU can be used|there is no GPU|has no CUDA kernels' err; then
  cat err
  exit 77
fi
check "a first step: exit code $code" test $code = 0
[ $code = 0 ] || show_output

losses() { grep -o '"loss":[^,}]*' "$1/metrics.jsonl" | cut -d: -f2; }
# Prints the greatest difference.
same_losses() {
  paste <(losses "$1") <(losses "$2") | awk '
    { difference = $1 > $2 ? $1 - $2 : $2 - $1; if (difference > greatest) greatest = difference }
    NF != 2 || $1 + 0 <= 0 { bad = 1 }
    END { print "  greatest difference of " NR " losses: " greatest + 0
          exit bad || NR != 20 || greatest > 1e-4 }'
}

say "training"
run 0 1 "${train[@]}" "$device" --trainer.run_dir=first
run 0 1 "${train[@]}" "$device" --trainer.run_dir=second
check "the same bits twice" \
  same_weights first/checkpoints/step-000020 second/checkpoints/step-000020
rm -r second/checkpoints/step-000020
run 0 1 "${train[@]}" "$device" --trainer.run_dir=second
prints 'after step 10'
check "the same bits after a resume" \
  same_weights first/checkpoints/step-000020 second/checkpoints/step-000020
run 0 1 "${train[@]}" --trainer.device=cpu --trainer.run_dir=cpu
check "the losses of the CPU" same_losses first cpu

say "evaluation and generation"
cross_entropy() { cut -d' ' -f2 "$1"; }
close_to() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a > 0 && a - b < 1e-5 && b - a < 1e-5) }'; }
for where in "$device" --trainer.device=cpu; do
  run 0 1 eval first/checkpoints/step-000020 --data data/validation --data.sequence_length=32 $where
  mv out "eval$where"
  run 0 1 generate first/checkpoints/step-000020 --prompt 'the rank' --max-new-tokens 20 $where
  mv out "text$where"
done
check "the same cross-entropy to 1e-5" close_to \
  "$(cross_entropy "eval$device")" "$(cross_entropy eval--trainer.device=cpu)"
check "the same text" cmp "text$device" text--trainer.device=cpu
exit $failures
