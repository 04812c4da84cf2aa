#!/usr/bin/env bash
# What a user can get wrong: the exit code tells the kind, one message names the place, once.
. "$(dirname "$0")/harness.sh"
prepare_data

# The lines of err that are ours: mpirun adds its own about a job that failed.
our_lines() { grep -cE '^(moesaic|rank [0-9]+): ' err; }
said_once() { check "said once" test "$(our_lines)" = 1; }

say "64: the command line"
run 64 1 trian configs/tiny.yaml
complains "unknown command 'trian'; did you mean 'train'"
said_once
run 64 2 trian configs/tiny.yaml
complains "did you mean 'train'"
said_once
run 64 1 train
run 64 1 "${train[@]}" --dry-rum
complains '--dry-run'

say "66: files that are not there"
run 66 1 train no/such.yaml
complains 'no/such\.yaml'
run 66 2 train no/such.yaml
said_once
run 66 2 "${train[@]}" --data.sources.train.0=data/absent --trainer.run_dir=runs/absent
complains 'data/absent'
said_once

say "78: the configuration, all errors at once, each with its place"
sed -e 's/^  lr: .*/  lr: fast/' -e 's/^  max_steps:/  max_step:/' \
  "$source_dir/configs/tiny.yaml" >wrong.yaml
lr_line=$(grep -n '^  lr: ' wrong.yaml | cut -d: -f1)
steps_line=$(grep -n '^  max_step:' wrong.yaml | cut -d: -f1)
run 78 2 train wrong.yaml --parallel.expert=0
complains "wrong\.yaml:$lr_line:[0-9]+: .*lr"
complains "wrong\.yaml:$steps_line:[0-9]+: .*max_step.*max_steps"
complains '--parallel\.expert=0'
check "each once" test "$(grep -c "wrong\.yaml:$lr_line:" err)" = 1
run 78 3 "${train[@]}" # 8 sequences a step do not share
complains 'data\.global_batch_size \(8\) must be divisible by the 3 ranks'
said_once
run 78 2 "${train[@]}" --debug.fault=nonsense --trainer.run_dir=runs/fault
complains 'debug\.fault=nonsense: .*must be one of'
said_once

say "65: files that are there, and damaged"
cp data/train.bin data/corrupt.bin
{ printf 'MMIDIDX\0\0'; tail -c +10 data/train.idx | head -c 40; } >data/corrupt.idx
run 65 2 "${train[@]}" --data.sources.train.0=data/corrupt --trainer.run_dir=runs/corrupt
complains 'data/corrupt\.idx'
said_once
run 65 1 data info data/corrupt
head -c 100 "$source_dir/tests/golden/olmoe/model.safetensors" >short.safetensors
run 65 1 checkpoint info short.safetensors
complains 'short\.safetensors'
cp -r "$source_dir/tests/golden/olmoe" truncated
cp short.safetensors truncated/model.safetensors
run 65 2 eval truncated --data data/validation --data.sequence_length=16
said_once

say "74: output that nobody gets"
on 1 checkpoint info "$source_dir/tests/golden/olmoe/model.safetensors"
"${command[@]}" >/dev/full 2>err
check "a report into a full device" test $? = 74
on 1 train "$source_dir/configs/tiny.yaml" --dry-run
"${command[@]}" >&- 2>&-
check "closed streams do no harm" test $? = 0

say "no mistake left a checkpoint or a run folder with metrics"
check "none" test -z "$(find runs -name 'step-*' -o -name metrics.jsonl 2>/dev/null)"

say "the published model, without the memory for it"
run 0 1 train "$source_dir/configs/olmoe_1b7b.yaml" --dry-run
prints '^parameters total: 69[0-9]{8}$'
prints '^parameters active: 1[23][0-9]{8}$'
run 0 2 "${train[@]}" --parallel.expert=2 --dry-run
check "printed once" test "$(grep -c '^parameters total: ' out)" = 1
prints '^parameters total: 76544$'
exit $failures
