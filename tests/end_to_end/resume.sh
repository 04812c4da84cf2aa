#!/usr/bin/env bash
# resume.sh BINARY RANKS EXPERT: 2N steps are N + N steps, to the bit, in one layout.
. "$(dirname "$0")/harness.sh"
ranks=${2:?ranks} expert=${3:?expert ranks}
layout=("--parallel.expert=$expert" --checkpoint.interval=6 --trainer.max_steps=12)
prepare_data

steps_once_each() {
  local steps
  steps=$(grep -o '^{"step":[0-9]*,"loss"' "$1" | grep -o '[0-9]*' | tr '\n' ' ')
  [ "$steps" = "$(seq -s ' ' 12) " ] || { say "    steps: $steps"; return 1; }
}

say "an uninterrupted run, and one that starts again from its sixth step"
run 0 "$ranks" "${train[@]}" "${layout[@]}" --trainer.run_dir=whole
cp -r whole resumed
rm -r resumed/checkpoints/step-000012
run 0 "$ranks" "${train[@]}" "${layout[@]}" --trainer.run_dir=resumed
prints 'resumed from resumed/checkpoints/step-000006 after step 6'
check "the same bytes in weights and moments" \
  same_weights whole/checkpoints/step-000012 resumed/checkpoints/step-000012
check "metrics.jsonl has every step once" steps_once_each resumed/metrics.jsonl
check "the losses of all steps agree to the last digit" \
  cmp <(grep -o '"step":[0-9]*,"loss":[^,]*' whole/metrics.jsonl) \
  <(grep -o '"step":[0-9]*,"loss":[^,]*' resumed/metrics.jsonl)
check "the checkpoint is valid" "$binary" checkpoint check resumed

say "a run that is done, and is then made longer"
run 0 "$ranks" "${train[@]}" "${layout[@]}" --trainer.run_dir=resumed
prints 'nothing to do: step 12 of 12 is done'
constant=(--lr_schedule.kind=constant --trainer.run_dir=longer)
run 0 "$ranks" "${train[@]}" "${layout[@]}" "${constant[@]}" --trainer.max_steps=6
run 0 "$ranks" "${train[@]}" "${layout[@]}" "${constant[@]}"
prints 'after step 6'
run 0 "$ranks" "${train[@]}" "${layout[@]}" --lr_schedule.kind=constant --trainer.run_dir=at_once
check "the same bytes as a run that was that long from the beginning" \
  same_weights longer/checkpoints/step-000012 at_once/checkpoints/step-000012
exit $failures
