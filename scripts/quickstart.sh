#!/usr/bin/env bash
# From nothing to a trained model: set-up, text, training on two ranks, evaluation, a sample.
#   scripts/quickstart.sh [--section.key=value ...]     overrides of configs/shakespeare.yaml
# Every command is printed before it runs, so that it can be typed again. The same call again
# resumes the training where it ended; what is there is not made again.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly ranks=2 config=configs/shakespeare.yaml data=data/shakespeare

# Prints a command as one would type it.
show() {
  local word line=
  for word in "$@"; do
    case $word in
      *[!A-Za-z0-9_./=:,@%+-]*) line+=" '$word'" ;;
      *) line+=" $word" ;;
    esac
  done
  printf '\n$%s\n' "$line"
}
run() {
  show "$@"
  "$@"
}

run scripts/setup.sh
run python3 scripts/fetch_text.py
for split in train validation test; do
  if [ ! $data/$split.idx -nt $data/$split.jsonl ]; then
    run build/moesaic data prepare $data/$split.jsonl --output $data/$split
  fi
done

. scripts/mpirun_env.sh $ranks 4  # 4 s to save a checkpoint after SIGTERM or Ctrl-C
train=(mpirun -n $ranks --bind-to none build/moesaic train $config "$@")
show "${train[@]}"
# In the background and waited for: a SIGTERM to this script goes on to the job, Ctrl-C has reached
# it, and either way the script ends after it.
"${train[@]}" &
job=$!
trap 'kill -TERM $job 2>/dev/null' TERM
trap ':' INT
code=0
wait $job || code=$?
while kill -0 $job 2>/dev/null; do  # a signal ended the wait, not the job
  code=0
  wait $job || code=$?
done
trap - TERM INT
[ $code = 0 ] || exit $code

run_dir=$(build/moesaic config $config "$@" |
  sed -n 's/^  run_dir: *"\?\([^"#]*[^"# ]\)"\?.*/\1/p')
last=$run_dir/checkpoints/$(cat "$run_dir/checkpoints/latest")
run build/moesaic eval "$last" --data $data/validation | tee "$run_dir/eval.txt"
echo "The same with experts drawn at random instead of the router's: it must be clearly worse."
run build/moesaic eval "$last" --data $data/validation --debug.force_balance=true |
  tee "$run_dir/eval_force_balance.txt"
run build/moesaic generate "$last" --prompt 'ROMEO:' --max-new-tokens 300 --temperature 0.8
cat "$run_dir"/eval{,_force_balance}.txt | awk '/^cross_entropy:/ { value[++n] = $2 }
  END { exit !(n == 2 && value[2] > value[1] + 0.1) }' ||
  { echo "quickstart: the router's choice is worth less than 0.1 nats a token" >&2; exit 70; }
