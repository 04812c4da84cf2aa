#!/usr/bin/env bash
# A rank that stands still (SIGSTOP) while the others wait for it: the watchdogs end the job and
# name it. Each of four ranks in turn.
. "$(dirname "$0")/harness.sh"
timeout_s=5
prepare_data

for victim in 0 1 2 3; do
  say "rank $victim of 4 stops"
  start 4 "${train[@]}" --parallel.expert=2 --parallel.timeout_s=$timeout_s \
    --trainer.max_steps=1000000 --checkpoint.interval=null --trainer.run_dir=runs/$victim
  wait_until 60 is_training
  pid=$(pid_of_rank $victim)
  kill -STOP "$pid"
  stopped_ms=$(now_ms)
  finish 71 $((timeout_s + 20))
  elapsed_ms=$(($(now_ms) - stopped_ms))
  check "gone after $elapsed_ms ms, at most $timeout_s s + 10 s" \
    test $elapsed_ms -le $(((timeout_s + 10) * 1000))
  complains "rank $victim IS STOPPED"
done
exit $failures
