#!/usr/bin/env bash
# A checkpoint of four expert ranks goes on with one rank, and the other way round; what must not
# change is refused; what is damaged is named and passed over.
. "$(dirname "$0")/harness.sh"
prepare_data
schedule=(--checkpoint.interval=3 --trainer.max_steps=9)

say "four expert ranks write, one rank goes on; one writes, four go on"
run 0 4 "${train[@]}" "${schedule[@]}" --parallel.expert=4 --trainer.max_steps=3 \
  --lr_schedule.kind=constant --trainer.run_dir=four
run 0 1 "${train[@]}" "${schedule[@]}" --trainer.max_steps=6 --lr_schedule.kind=constant \
  --trainer.run_dir=four
prints 'resumed from four/checkpoints/step-000003 after step 3'
run 0 4 "${train[@]}" "${schedule[@]}" --parallel.expert=4 --data.micro_batch_size=1 \
  --lr_schedule.kind=constant --trainer.run_dir=four
prints 'resumed from four/checkpoints/step-000006 after step 6'
run 0 1 "${train[@]}" "${schedule[@]}" --lr_schedule.kind=constant --trainer.run_dir=one
# float32: each layout sums in its own order.
final_losses() { grep -h '^{"step":9,"loss"' "$@" | sed 's/.*"loss":\([0-9.]*\).*/\1/'; }
close_losses() {
  final_losses four/metrics.jsonl one/metrics.jsonl | sort -g |
    awk 'NR == 1 { low = $1 } END { exit !(NR == 2 && $1 - low < 1e-3) }'
}
check "the loss of step 9 is that of one rank to 1e-3" close_losses

say "what alters the run is refused, and named"
run 78 1 "${train[@]}" "${schedule[@]}" --lr_schedule.kind=constant --trainer.run_dir=one \
  --trainer.max_steps=10 --optimizer.lr=1e-3
complains 'optimizer\.lr: .*(3e-03|0\.003).*(1e-03|0\.001)'
check "the way out is named too" grep -q -- --allow-config-change err
run 78 2 "${train[@]}" "${schedule[@]}" --lr_schedule.kind=constant --trainer.run_dir=one \
  --trainer.max_steps=10 --optimizer.lr=1e-3 --data.seed=1
complains 'data\.seed: '
check "said once, not by every rank" test "$(grep -c 'data\.seed: ' err)" = 1
run 78 2 "${train[@]}" "${schedule[@]}" --lr_schedule.kind=constant --trainer.run_dir=one \
  --trainer.max_steps=10 --model.num_experts=16
complains 'model\.num_experts: 8 -> 16'
run 78 1 "${train[@]}" "${schedule[@]}" --lr_schedule.kind=constant --trainer.run_dir=one \
  --trainer.max_steps=10 --trainer.precision.parameter=float64
complains 'trainer\.precision\.parameter: float32 -> float64'
check "the run is as it was" test "$(newest_checkpoint one)" = one/checkpoints/step-000009
run 0 1 "${train[@]}" "${schedule[@]}" --lr_schedule.kind=constant --trainer.run_dir=one \
  --trainer.max_steps=10 --optimizer.lr=1e-3 --allow-config-change
prints 'after step 9'

say "the same data in another place"
cp -r data moved
run 0 1 "${train[@]}" "${schedule[@]}" --lr_schedule.kind=constant --trainer.run_dir=one \
  --trainer.max_steps=11 --optimizer.lr=1e-3 --data.sources.train.0=moved/train
prints 'after step 10'

# flip_byte FILE: one bit in the middle of it.
flip_byte() {
  local offset=$(($(stat -c %s "$1") / 2)) byte
  byte=$(od -An -tu1 -j $offset -N 1 "$1")
  # shellcheck disable=SC2059
  printf "\\x$(printf %x $((byte ^ 1)))" | dd of="$1" bs=1 seek=$offset conv=notrunc status=none
}

say "one flipped bit: named, passed over, computed again"
run 0 2 "${train[@]}" "${schedule[@]}" --trainer.run_dir=damaged
expected=$(hash_of damaged/checkpoints/step-000009)
flip_byte damaged/checkpoints/step-000009/optimizer.safetensors
run 74 1 checkpoint check damaged/checkpoints/step-000009
complains 'optimizer\.safetensors'
run 0 2 "${train[@]}" "${schedule[@]}" --trainer.run_dir=damaged
complains 'skipping checkpoint .*step-000009: .*optimizer\.safetensors'
prints 'resumed from damaged/checkpoints/step-000006'
check "step 9 is valid again, and what it was" \
  test "$(hash_of damaged/checkpoints/step-000009)" = "$expected"

say "nothing valid is left: no fresh start behind the user's back"
for folder in damaged/checkpoints/step-*; do flip_byte "$folder/model.safetensors"; done
run 74 2 "${train[@]}" "${schedule[@]}" --trainer.run_dir=damaged
complains 'none of the 3 checkpoints'
check "said once" test "$(grep -c 'none of the 3' err)" = 1

say "a second job in the same folder"
start 2 "${train[@]}" --trainer.run_dir=shared --trainer.max_steps=100000
wait_until 60 is_training
first_job=$(pid_of_rank 0)
"$binary" "${train[@]}" --trainer.run_dir=shared --trainer.max_steps=100000 >second.out 2>second.err
code=$?
check "the second exits 74 (is $code)" test $code = 74
check "it names the first (pid $first_job)" grep -q "in use by .\?pid $first_job on " second.err
kill -USR1 $job
finish 75 60
exit $failures
