#!/usr/bin/env bash
# emulated_parity.sh BINARY CASE: a golden case through the emulated CUDA kernels, alone and on two
# expert ranks, and exactly as many launches of each kernel as kernel_launches.txt says.
. "$(dirname "$0")/harness.sh"
case_name=${2:?a folder of tests/golden}
golden=$source_dir/tests/golden/$case_name
table=$source_dir/tests/end_to_end/kernel_launches.txt

# Of rank 0 in the last run, as lines of the table: CASE RANKS KERNEL LAUNCHES.
launches() {
  awk -v run="$case_name $1" '/^kernel launches of rank 0:$/ {listed = 1; next}
    listed && NF == 2 {print run, $1, $2}' out
}

for ranks in 1 2; do
  say "parity $case_name through emulated kernels: $ranks ranks"
  run 0 $ranks parity "$golden" "--parallel.expert=$ranks" --kernel-log
  launches $ranks >actual
  grep "^$case_name $ranks " "$table" >expected
  check "kernels are listed" test -s actual
  check "launches as committed" diff expected actual
done

say "each kernel of the build is launched by some case"
idle=$(launches 2 | while read -r _ _ kernel _; do
  awk -v kernel="$kernel" '$3 == kernel {sum += $4} END {if (!sum) print kernel}' "$table"
done)
check "no kernel is idle: $idle" test -z "$idle"
exit $failures
