#!/usr/bin/env bash
# Runs parallel_fault under mpirun and checks how the job ends: the exit code, the time, that no
# process is left, and what was printed.
#
#   fault_test.sh BINARY RANKS KIND RANK TIMEOUT_S EXPECTED_CODE [TEXT ...]
#                                                              (! TEXT: must not occur)
set -u
binary=$1 ranks=$2 kind=$3 culprit=$4 timeout_s=$5 expected=$6
shift 6
# shellcheck source=scripts/mpirun_env.sh
. "$(dirname "$0")/../../scripts/mpirun_env.sh" "$ranks"
folder=$(mktemp -d)
output=$folder/output
trap 'rm -rf "$folder"' EXIT

begin=$(date +%s%N)
timeout -k 5 100 mpirun -n "$ranks" --bind-to none "$binary" "$kind" "$culprit" "$timeout_s" \
  "$folder/rings" >"$output" 2>&1
code=$?
elapsed_ms=$((($(date +%s%N) - begin) / 1000000))
cat "$output"
echo "--- $kind by rank $culprit of $ranks: exit code $code after $elapsed_ms ms"

status=0
complain() {
  echo "FAILED: $*"
  status=1
}
[ "$code" = "$expected" ] || complain "exit code $code, expected $expected"
# Start-up and the rounds before the fault come on top of timeout + 10 s; a loaded machine is slow.
[ "$elapsed_ms" -le $(((timeout_s + 20) * 1000)) ] || complain "took $elapsed_ms ms"
[ "$(grep -c '^pid ' "$output")" = "$ranks" ] || complain "not all ranks came up"
# mpirun has sent SIGKILL; the kernel may need a moment to take the process apart.
state_of() { sed 's/.*) //; s/ .*//' "/proc/$1/stat" 2>/dev/null; }
for pid in $(sed -n 's/^pid //p' "$output"); do
  for _ in $(seq 50); do
    case "$(state_of "$pid")" in
      "" | Z | X) continue 2 ;;
    esac
    sleep 0.1
  done
  complain "process $pid is still there, state $(state_of "$pid")"
done
# The rings of a job that failed are kept for a look; a clean end removes them.
rings=$(ls "$folder/rings" | wc -l)
[ "$rings" = "$([ "$code" = 0 ] && echo 0 || echo "$ranks")" ] || complain "$rings rings are left"
while [ $# -gt 0 ]; do
  if [ "$1" = "!" ]; then
    shift
    ! grep -q -- "$1" "$output" || complain "the output holds: $1"
  else
    grep -q -- "$1" "$output" || complain "the output lacks: $1"
  fi
  shift
done
exit $status
