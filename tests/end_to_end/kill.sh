#!/usr/bin/env bash
# kill -9 of a random rank at random moments, and the same command again: twenty times in one run.
# Its end is that of a run that nobody disturbed. MOESAIC_TEST_SEED repeats a sequence of moments.
. "$(dirname "$0")/harness.sh"
seed=${MOESAIC_TEST_SEED:-$$}
RANDOM=$seed
num_kills=20
say "seed of the moments: $seed"
prepare_data
# Nobody waits for the others of a job whose rank is dead (Open MPI's default: a second, twice).
export OMPI_MCA_odls_base_sigkill_timeout=0

options=(--parallel.expert=2 --lr_schedule.kind=constant --data.global_batch_size=4
  --checkpoint.keep_last=3)
interrupted=(--trainer.run_dir=interrupted --checkpoint.interval=2 --trainer.max_steps=1000000)

has_started() { [ -n "$(pid_of_rank 1)" ] || job_is_over; }
up_to() { sleep "$(awk -v r=$RANDOM -v most="$1" 'BEGIN { print most * r / 32768 }')"; }

say "$num_kills kills"
for ((kills = 1; kills <= num_kills; ++kills)); do
  start 2 "${train[@]}" "${options[@]}" "${interrupted[@]}"
  if [ $((kills % 5)) = 0 ]; then
    up_to 0.5 # while it starts
    wait_until 30 has_started
  else
    wait_until 60 is_training
    up_to 1.0
  fi
  victim=$((RANDOM % 2))
  pid=$(pid_of_rank $victim)
  check "rank $victim is there" kill -9 "$pid"
  finish 137 30
  say "  kill $kills: rank $victim; on disk: $(basename "$(newest_checkpoint interrupted)")"
  ! grep -q 'skipping checkpoint' err || fail "a damaged checkpoint: $(grep skipping err)"
done

say "kill -9 of mpirun itself"
start 2 "${train[@]}" "${options[@]}" "${interrupted[@]}"
wait_until 60 is_training
kill -9 $job
finish 137 30

reached=$(step_of "$(newest_checkpoint interrupted)")
target=$((reached + 3))
say "undisturbed from step $reached to $target, and a run of $target steps that nobody disturbed"
check "the lives have made progress" test "$reached" -ge 10
run 0 2 "${train[@]}" "${options[@]}" "${interrupted[@]}" --trainer.max_steps=$target
run 0 2 "${train[@]}" "${options[@]}" --trainer.run_dir=whole --trainer.max_steps=$target \
  --logging.interval=1000
check "the same bytes in weights and moments" \
  same_weights "$(newest_checkpoint interrupted)" "$(newest_checkpoint whole)"
check "metrics.jsonl has every step once" \
  test "$(grep -o '^{"step":[0-9]*,"loss"' interrupted/metrics.jsonl | sort -u | wc -l)" = $target \
  -a "$(grep -c '^{"step":[0-9]*,"loss"' interrupted/metrics.jsonl)" = $target
check "no temporary folder is left" \
  test "$(ls -A interrupted/checkpoints | grep -cE 'tmp|trash')" = 0
exit $failures
