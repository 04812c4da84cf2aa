#!/usr/bin/env bash
# A scheduler's signals: whoever gets one, all ranks save together and exit 75, and the same command
# goes on as if nothing had been.
. "$(dirname "$0")/harness.sh"
prepare_data
options=(--parallel.expert=2 --trainer.max_steps=100 --checkpoint.interval=null)

# interrupted SIGNAL WHOM: a life of the run that ends by that signal ("job": mpirun, else a rank).
interrupted() {
  local signal=$1 whom=$2 pid=
  say "SIG$signal to ${whom/job/mpirun}"
  start 2 "${train[@]}" "${options[@]}" --trainer.run_dir=interrupted
  wait_until 60 is_training
  if [ "$whom" = job ]; then pid=$job; else pid=$(pid_of_rank "${whom#rank }"); fi
  kill -s "$signal" "$pid"
  finish 75 60
  prints 'stopped by a signal after step [0-9]+: the same command goes on'
  check "the newest checkpoint is the step that it stopped at" \
    grep -q "after step $(step_of "$(newest_checkpoint interrupted)"):" out
  check "nobody complains" test "$(grep -c '^rank ' err)" = 0
}

interrupted USR1 job
interrupted USR1 "rank 0"
interrupted TERM "rank 1"
interrupted INT "rank 0"

say "to the end, and a run that nobody has interrupted"
run 0 2 "${train[@]}" "${options[@]}" --trainer.run_dir=interrupted
prints 'resumed from .* after step'
run 0 2 "${train[@]}" "${options[@]}" --trainer.run_dir=whole
check "the same bytes in weights and moments" \
  same_weights interrupted/checkpoints/step-000100 whole/checkpoints/step-000100
exit $failures
