# Sourced by every case of this folder: `case.sh BINARY [...]`. Gives the case a folder of its own
# (the working directory), small token files, and the words run, on, start, finish, check. Nothing
# is left behind: neither the folder nor a process. A case ends with `exit $failures`.
# shellcheck shell=bash

set -u
binary=$(realpath "${1:?the moesaic binary}")
source_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/moesaic-end-to-end.XXXXXX")
export MOESAIC_TEST_FOLDER=$work # inherited by all that the case starts: see job_processes
failures=0
export OMP_WAIT_POLICY=passive # idle threads leave the cores to other tests; no number changes
# shellcheck source=scripts/mpirun_env.sh
. "$source_dir/scripts/mpirun_env.sh" 4
cd "$work" || exit 1

# --- processes -------------------------------------------------------------------------

# Every mpirun and moesaic that this case has started and that still runs, a pid a line. One that
# the kernel is still taking apart has no environment any more.
job_processes() {
  local file name
  for file in $(grep -lsxz "MOESAIC_TEST_FOLDER=$work" /proc/[0-9]*/environ); do
    name=$(cat "${file%environ}comm" 2>/dev/null)
    case $name in moesaic* | mpirun) basename "${file%/environ}" ;; esac
  done
}

# pid_of_rank R: of the job that runs now; empty before it has started.
pid_of_rank() {
  local pid
  for pid in $(job_processes); do
    if grep -sqxz "OMPI_COMM_WORLD_RANK=$1" "/proc/$pid/environ"; then
      echo "$pid"
    fi
  done
}

clean_up() {
  local pids
  pids=$(job_processes)
  # shellcheck disable=SC2086
  [ -z "$pids" ] || kill -9 $pids 2>/dev/null
  rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# wait_until SECONDS COMMAND...: true as soon as the command is.
wait_until() {
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    [ "$SECONDS" -le "$end" ] || return 1
    sleep 0.03
  done
}

no_process_left() { [ -z "$(job_processes)" ]; }

# --- checks ----------------------------------------------------------------------------

say() { printf '%s\n' "$*"; }

fail() {
  failures=$((failures + 1))
  say "  FAILED: $*"
}

# check WHAT COMMAND...: the command must succeed.
check() {
  local what=$1
  shift
  if "$@"; then
    say "  ok: $what"
  else
    fail "$what"
  fi
}

# prints PATTERN, complains PATTERN: stdout or stderr of the last command holds it (grep -E).
prints() { expect_text stdout out "$1"; }
complains() { expect_text stderr err "$1"; }

expect_text() {
  local failures_before=$failures
  check "$1: $3" grep -qE -- "$3" "$2"
  [ "$failures" = "$failures_before" ] || show_output
}

show_output() {
  sed 's/^/    out| /' out | tail -30
  sed 's/^/    err| /' err | tail -30
}

# --- commands --------------------------------------------------------------------------

now_ms() { echo $(($(date +%s%N) / 1000000)); }

# on RANKS ARGUMENTS...: the command line of moesaic on that many ranks, in the array `command`. Of
# an override that is given twice the last one counts, so that a case can add to `train`.
on() {
  local ranks=$1 argument idx
  local -A place=()
  shift
  command=("$binary")
  for argument; do
    idx=${#command[@]}
    case $argument in --*.*=*) idx=${place[${argument%%=*}]:=$idx} ;; esac
    command[idx]=$argument
  done
  [ "$ranks" = 1 ] || command=(mpirun -n "$ranks" --bind-to none "${command[@]}")
}

# run CODE RANKS ARGUMENTS...: waits for it; must end with that exit code. Leaves out and err.
run() {
  local expected=$1 code begin
  shift
  on "$@"
  begin=$(now_ms)
  timeout -k 5 120 "${command[@]}" >out 2>err
  code=$?
  judge "$expected" "$code" $(($(now_ms) - begin)) "$*"
}

judge() {
  local expected=$1 code=$2 elapsed_ms=$3 what=${4/"${train[*]}"/train tiny.yaml}
  printf '  %6d ms, exit code %s: %s\n' "$elapsed_ms" "$code" "${what//$source_dir\//}"
  if [ "$code" != "$expected" ]; then
    fail "exit code $code, expected $expected"
    show_output
  fi
}

# start RANKS ARGUMENTS...: in the background; out and err fill up. finish CODE SECONDS waits for
# it.
start() {
  on "$@"
  started_what=$*
  started_ms=$(now_ms)
  rm -f out err
  "${command[@]}" >out 2>err &
  job=$!
}

finish() {
  local expected=$1 limit_s=$2 code
  if ! wait_until "$limit_s" job_is_over; then
    fail "still there after $limit_s s: $started_what"
    show_output
    kill -9 "$job" 2>/dev/null
  fi
  wait "$job" 2>/dev/null
  code=$?
  judge "$expected" "$code" $(($(now_ms) - started_ms)) "$started_what"
  check "no process is left" wait_until 5 no_process_left
}

job_is_over() { ! kill -0 "$job" 2>/dev/null; }

# The job has done a step.
is_training() { grep -qs '^step ' out || job_is_over; }

# --- training data and runs --------------------------------------------------------------

# write_text FILE SEED SENTENCES: the same words on every machine.
write_text() {
  awk -v state="$2" -v sentences="$3" 'BEGIN {
    num_words = split("the rank of a token and its expert router gate weight sum drop batch " \
      "step loss norm layer head key value query that which sends to from by with one two " \
      "many few", words)
    for (i = 0; i < sentences; ++i) {
      line = ""
      for (j = 0; j < 8; ++j) {
        state = (state * 1103 + 12345) % 1000003
        line = line (j ? " " : "") words[state % num_words + 1]
      }
      print line "."
    }
  }' >"$1"
}

# Token files data/train and data/validation of some documents each.
prepare_data() {
  local idx
  mkdir -p text/train text/validation
  for idx in 1 2 3 4 5 6; do write_text text/train/$idx.txt $idx 60; done
  for idx in 7 8; do write_text text/validation/$idx.txt $idx 20; done
  run 0 1 data prepare text/train --output data/train
  run 0 1 data prepare text/validation --output data/validation
}

# The command line of a tiny training run; a case appends what it needs.
train=(train "$source_dir/configs/tiny.yaml"
  --data.sources.train.0=data/train --data.sources.validation.0=data/validation
  --logging.validation_interval=null)

hash_of() { "$binary" checkpoint info "$1" | sed -n 's/^hash: //p'; }

newest_checkpoint() { printf '%s\n' "$1"/checkpoints/step-?????? | tail -1; }

step_of() { echo $((10#${1##*step-})); }

# same_weights A B: the two checkpoints hold the same bytes, in every weight and moment file.
same_weights() {
  local file num_files=0
  [ -n "$(hash_of "$1")" ] && [ "$(hash_of "$1")" = "$(hash_of "$2")" ] || return 1
  for file in "$1"/*.safetensors; do
    cmp "$file" "$2/${file##*/}" || return 1
    num_files=$((num_files + 1))
  done
  [ "$num_files" -ge 2 ] && [ "$num_files" = "$(find "$2" -name '*.safetensors' | wc -l)" ]
}
