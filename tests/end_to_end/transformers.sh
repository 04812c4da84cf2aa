#!/usr/bin/env bash
# transformers loads a checkpoint as it is and computes moesaic's cross-entropy. Needs
# `scripts/setup.sh --python`; without it 77: skipped.
. "$(dirname "$0")/harness.sh"
python3 "$source_dir/scripts/compare_transformers.py" --help >/dev/null || exit $?
prepare_data
run 0 2 "${train[@]}" --parallel.expert=2 --trainer.run_dir=run --trainer.max_steps=20
checkpoint=$(newest_checkpoint run)

run 0 1 eval "$checkpoint" --data data/validation --data.sequence_length=32
cat out
cp out ours
say "transformers on the same windows"
python3 "$source_dir/scripts/compare_transformers.py" "$checkpoint" --data data/validation \
  --sequence-length 32 --generate 8 --prompt 'the rank' >out 2>err
code=$?
check "exit code 0 (is $code)" test $code = 0
[ $code = 0 ] || show_output
prints 'nothing missing, unexpected or mismatched'
prints "generated: 'the rank"
grep '^cross_entropy' out
close() {
  cat ours <(grep '^cross_entropy' out) |
    awk '{ value[NR] = $2; tokens[NR] = $4 }
      END { difference = value[1] - value[2]; if (difference < 0) difference = -difference
        exit !(NR == 2 && tokens[1] == tokens[2] && difference <= 1e-5 * value[1]) }'
}
check "the same cross-entropy to 1e-5, relative, over the same tokens" close
"$binary" generate "$checkpoint" --prompt 'the rank' --max-new-tokens 8 >continued
check "the same greedy text" python3 - continued out <<'PYTHON'
import ast, re, sys
ours, theirs = (open(path, errors="surrogateescape").read() for path in sys.argv[1:])
theirs = ast.literal_eval(re.search(r"^generated: (.*)$", theirs, re.M).group(1))
print(f"    {ours!r} {theirs!r}")
assert ours.rstrip("\n") == theirs.rstrip("\n")
PYTHON
exit $failures
