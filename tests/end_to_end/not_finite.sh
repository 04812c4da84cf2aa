#!/usr/bin/env bash
# A step whose loss is not finite is skipped by all ranks alike; after trainer.max_skipped_steps in
# a row the run ends with 70.
. "$(dirname "$0")/harness.sh"
prepare_data
# The first update throws the weights out of float32's range: no later step is finite.
options=(--optimizer.lr=1e38 --lr_schedule.kind=constant --lr_schedule.warmup_steps=null
  --checkpoint.interval=1 --checkpoint.keep_last=null --trainer.run_dir=run)

for ranks in 1 2; do
  say "$ranks: five steps in a row"
  run 70 $ranks "${train[@]}" "${options[@]}" --trainer.run_dir=run-$ranks
  complains '5 steps in a row were skipped .*trainer\.max_skipped_steps is 5'
  check "said once" test "$(grep -c 'in a row' err)" = 1
  prints 'SKIPPED'
  check "metrics.jsonl says which" \
    test "$(grep -c '"skipped":true' run-$ranks/metrics.jsonl)" = 5
  newest=$(newest_checkpoint run-$ranks)
  num_finite=$(grep -c '"skipped":false' run-$ranks/metrics.jsonl)
  check "skipped steps leave no trace in weights and moments" \
    same_weights "$newest" "run-$ranks/checkpoints/$(printf step-%06d "$num_finite")"
done

say "the window of skipped steps outlives a restart"
check "four were saved" test "$(step_of "$newest")" = $((num_finite + 4))
run 70 2 "${train[@]}" "${options[@]}" --trainer.run_dir=run-2
check "one more was enough" test "$(grep -c '"skipped":true' run-2/metrics.jsonl)" = 5

say "a longer patience"
run 70 1 "${train[@]}" "${options[@]}" --trainer.run_dir=run-1 --trainer.max_skipped_steps=7
complains '7 steps in a row'
exit $failures
