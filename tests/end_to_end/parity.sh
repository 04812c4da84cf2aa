#!/usr/bin/env bash
# parity.sh BINARY CASE: a golden case in every layout that shares its four sequences.
. "$(dirname "$0")/harness.sh"
case_name=${2:?a folder of tests/golden}
golden=$source_dir/tests/golden/$case_name

# With formula hf or scope global a rank takes its sequences as one micro-batch.
whole_batch_first=false
if [ ! -f "$golden/moe.yaml" ] || grep -q 'scope: global' "$golden/moe.yaml"; then
  whole_batch_first=true
fi

say "parity $case_name: layouts and micro-batches"
run 0 1 parity "$golden"
check "logits and gradients were compared" \
  test "$(grep -cE '^(logits|gradients|AdamW losses|final weights) +[0-9.]+e?' out)" = 4
for ranks in 1 2 4; do
  for ((expert = 1; expert <= ranks; expert *= 2)); do
    for micro_batch_size in 1 2 4; do
      layout=("--parallel.expert=$expert" "--data.micro_batch_size=$micro_batch_size")
      if [ $((ranks * micro_batch_size)) -gt 4 ]; then
        continue
      elif $whole_batch_first && [ $((ranks * micro_batch_size)) != 4 ]; then
        # Refused alike in all layouts: one of each size is enough.
        [ "$expert" = 1 ] && [ "$micro_batch_size" = 1 ] || continue
        run 78 "$ranks" parity "$golden" "${layout[@]}"
        complains 'one micro-batch'
      else
        run 0 "$ranks" parity "$golden" "${layout[@]}"
      fi
    done
  done
done

say "parity $case_name: float64"
run 0 1 parity "$golden" --trainer.precision.parameter=float64
run 0 4 parity "$golden" --trainer.precision.parameter=float64 --parallel.expert=2
exit $failures
