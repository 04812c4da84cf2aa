#!/usr/bin/env bash
# debug.fault: a rank that dies, stops, is late, whose loss is no number, whose disk is full or
# loses data, at a named place. The same command without the fault goes on to the same bytes.
. "$(dirname "$0")/harness.sh"
prepare_data
options=(--parallel.expert=2 --trainer.max_steps=4 --checkpoint.interval=2
  --lr_schedule.kind=constant)
run 0 2 "${train[@]}" "${options[@]}" --trainer.run_dir=whole

# fault CODE KIND@PHASE,step=N: a run with it ends with that code; the next one goes on.
fault() {
  say "$2"
  rm -rf broken
  run "$1" 2 "${train[@]}" "${options[@]}" --trainer.run_dir=broken --debug.fault="$2"
  check "no process is left" wait_until 5 no_process_left
}
goes_on() {
  run 0 2 "${train[@]}" "${options[@]}" --trainer.run_dir=broken
  check "the same bytes in weights and moments" \
    same_weights broken/checkpoints/step-000004 whole/checkpoints/step-000004
  check "no temporary folder is left" \
    test "$(ls -A broken/checkpoints | grep -cE 'tmp|trash')" = 0
}

for phase in save.begin save.after_write save.before_manifest save.before_rename \
  save.after_rename save.before_latest; do
  fault 137 kill@$phase,step=4
  goes_on
done
fault 137 kill@step,step=1
goes_on

fault 74 enospc@save.begin,step=4
complains 'No space left'
check "the old checkpoint is whole" \
  test "$(hash_of broken/checkpoints/step-000002)" = "$(hash_of whole/checkpoints/step-000002)"
goes_on
fault 74 short_write@save.begin,step=4
goes_on

fault 0 slow@step,step=2
check "the same bytes in weights and moments" \
  same_weights broken/checkpoints/step-000004 whole/checkpoints/step-000004
fault 0 nan@step,step=3
check "one step is skipped, by all" test "$(grep -c '"skipped":true' broken/metrics.jsonl)" = 1
check "it is the third" grep -q '^{"step":3,.*"skipped":true' broken/metrics.jsonl

say "a stopped rank is named"
rm -rf broken
run 71 2 "${train[@]}" "${options[@]}" --trainer.run_dir=broken --parallel.timeout_s=2 \
  --debug.fault=stop@step,step=2
complains 'rank 1 IS STOPPED'

say "nothing to hit, and no such fault"
run 78 2 "${train[@]}" "${options[@]}" --trainer.run_dir=late --debug.fault=kill@step,step=9
complains 'nothing that the fault could hit'
run 78 1 "${train[@]}" "${options[@]}" --trainer.run_dir=alone --debug.fault=kill@step,step=1
complains 'debug\.fault=kill@step,step=1: .*nothing to hit'
run 78 1 train "$source_dir/configs/tiny.yaml" --dry-run --debug.fault=banana
complains 'debug\.fault=banana: .*must be one of'
exit $failures
