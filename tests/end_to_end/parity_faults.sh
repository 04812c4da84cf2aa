#!/usr/bin/env bash
# parity notices every deliberate fault, refuses what it cannot share, and reports as JSON.
. "$(dirname "$0")/harness.sh"
golden=$source_dir/tests/golden/olmoe

say "six faults: each is noticed, and a tensor that is wrong is named"
for fault in corrupt@all_to_all skip_reduce drop_row scale_gradient stale_count double_aux; do
  run 70 4 parity "$golden" --parallel.expert=2 --debug.fault=$fault
  prints '(model\.[a-z0-9_.]*|lm_head)\.weight .*NOT EQUAL'
  complains 'worst tensor: [a-z ]+, (model\.[a-z0-9_.]*|lm_head)\.weight '
done

say "a fault that cannot act is an error of configuration"
run 78 1 parity "$golden" --debug.fault=drop_row
complains 'one rank'
run 78 2 parity "$golden" --debug.fault=corrupt@all_to_all # one expert rank: nothing is exchanged
complains 'nothing that the fault could hit'
run 78 2 parity "$golden" --debug.fault=nonsense
complains 'nonsense is not one of .*skip_reduce'

say "layouts that do not fit"
run 78 3 parity "$golden"
complains '4 sequences cannot be shared by 3 data ranks'
run 78 3 parity "$golden" --parallel.expert=2
complains 'parallel.expert'
run 78 2 parity "$golden" --data.global_batch_size=4
complains 'data.global_batch_size'
run 66 1 parity no/such/folder

say "--json: who had what"
run 0 4 parity "$golden" --parallel.expert=2 --json
check "the report is JSON; sequences and experts are shared out" python3 - out <<'PYTHON'
import json, sys
report = json.load(open(sys.argv[1]))
assert report["equal"] is True
assert all(entry["ok"] for entry in report["quantities"] if entry["compared"])
ranks = report["ranks"]
assert [entry["rank"] for entry in ranks] == [0, 1, 2, 3]
assert sorted(sum((entry["sequences"] for entry in ranks), [])) == [0, 1, 2, 3]
for entry in ranks:
    first = 4 * (entry["rank"] % 2)
    assert entry["experts"] == list(range(first, first + 4)), entry
    assert entry["parameter_bytes"] > 0 and entry["bytes_exchanged"] > 0
PYTHON
parameter_bytes=$(grep -o '"parameter_bytes": [0-9]*' out | head -1 | grep -o '[0-9]*')
run 0 1 parity "$golden" --json
alone=$(grep -o '"parameter_bytes": [0-9]*' out | grep -o '[0-9]*')
check "a rank with half of the experts holds less ($parameter_bytes of $alone bytes)" \
  test "$parameter_bytes" -lt "$alone"
check "one rank exchanges nothing" grep -q '"bytes_exchanged": 0' out
exit $failures
