#!/usr/bin/env bash
# From nothing to a trained model: set-up, text, training on two ranks, evaluation, a sample.
#   scripts/quickstart.sh [--section.key=value ...]     overrides of configs/shakespeare.yaml
# Every command is printed before it runs, so that it can be typed again. The same call again
# resumes the training where it ended; what is there is not made again.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly ranks=2 config=configs/shakespeare.yaml data=data/shakespeare

# Prints a command as one would type it, then runs it.
run() {
  local word line=
  for word in "$@"; do
    case $word in
      *[!A-Za-z0-9_./=:,@%+-]*) line+=" '$word'" ;;
      *) line+=" $word" ;;
    esac
  done
  printf '\n$%s\n' "$line"
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
run mpirun -n $ranks --bind-to none build/moesaic train $config "$@"

run_dir=$(build/moesaic config $config "$@" | sed -n 's/^  run_dir: *\([^ ]*\).*/\1/p')
last=$run_dir/checkpoints/$(cat "$run_dir/checkpoints/latest")
run build/moesaic eval "$last" --data $data/validation
echo "The same with experts drawn at random instead of the router's: it should be clearly worse."
run build/moesaic eval "$last" --data $data/validation --debug.force_balance=true
run build/moesaic generate "$last" --prompt 'ROMEO:' --max-new-tokens 300 --temperature 0.8
