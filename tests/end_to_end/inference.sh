#!/usr/bin/env bash
# eval gives the same number, and greedy generation the same text, in every layout.
. "$(dirname "$0")/harness.sh"
prepare_data
run 0 2 "${train[@]}" --parallel.expert=2 --trainer.run_dir=run --trainer.max_steps=20
checkpoint=$(newest_checkpoint run)

say "eval: every window once, in every layout"
# Number of ranks, expert ranks, micro-batch; 7 does not divide the windows.
for layout in "1 1 1" "1 1 7" "2 1 1" "2 2 2" "4 1 1" "4 2 3"; do
  read -r ranks expert micro_batch_size <<<"$layout"
  run 0 "$ranks" eval "$checkpoint" --data data/validation --data.sequence_length=32 \
    "--parallel.expert=$expert" "--data.micro_batch_size=$micro_batch_size"
  check "one line of output" test "$(wc -l <out)" = 1
  cat out
  cat out >>evaluations
done
spread() {
  awk '{ low = (NR == 1 || $2 < low) ? $2 : low; high = $2 > high ? $2 : high; tokens[$4] = 1 }
    END { for (count in tokens) ++kinds; exit !(NR == 6 && kinds == 1 && high - low <= 1e-6) }' \
    evaluations
}
check "the same cross-entropy to 1e-6, over the same tokens" spread
run 0 2 eval "$checkpoint" --data data/validation --data.sequence_length=32 --parallel.expert=2 \
  --debug.force_balance=true
check "force_balance is another model" \
  test "$(cut -d' ' -f2 out)" != "$(head -1 evaluations | cut -d' ' -f2)"

say "generate"
for layout in "1 1" "2 1" "2 2"; do
  read -r ranks expert <<<"$layout"
  run 0 "$ranks" generate "$checkpoint" --prompt 'the rank' --max-new-tokens 40 \
    "--parallel.expert=$expert"
  prints '^the rank'
  mv out "text-$ranks-$expert"
done
check "the same text on 1 rank and on 2 data ranks" cmp text-1-1 text-2-1
check "the same text on 1 rank and on 2 expert ranks" cmp text-1-1 text-2-2
for ranks in 1 2; do
  run 0 $ranks generate "$checkpoint" --prompt 'the' --temperature 0.9 --top-k 5 --seed 7
  mv out drawn-$ranks
done
check "the same draws from the same seed on 1 and 2 ranks" cmp drawn-1 drawn-2

say "a signal ends it"
start 1 generate "$checkpoint" --prompt 'the rank' --max-new-tokens 1000000
has_started() { [ -n "$(job_processes)" ]; }
wait_until 30 has_started
sleep 1
kill -TERM "$job"
finish 143 10

say "what does not fit the model"
run 78 1 eval "$checkpoint" --data data/validation --data.sequence_length=100000
complains 'data\.sequence_length: 100000 is more than the model'
run 78 1 eval "$checkpoint" --data data/validation --trainer.max_steps=3
complains 'trainer\.max_steps: cannot be set for this command'
run 78 1 eval "$checkpoint" --data data/validation --parallel.expert=4294967297
mkfifo data/pipe.idx
run 65 1 eval "$checkpoint" --data data/pipe

say "a model of a folder keeps that folder's tokenizer, and generate does not guess it"
cp -r "$checkpoint" hub
echo '{"version": "another tokenizer"}' >hub/tokenizer.json
run 0 1 "${train[@]}" --model.from=hub --trainer.run_dir=tuned --trainer.max_steps=2
check "the tokenizer is carried" cmp hub/tokenizer.json tuned/checkpoints/step-000002/tokenizer.json
run 65 1 generate tuned/checkpoints/step-000002 --prompt a
complains 'the tokenizer of this model is another one'
exit $failures
