#!/usr/bin/env bash
# Set-up, every gate, every test: what CI runs. Exit 0 only if all hold.
#   scripts/test.sh [ctest options]      e.g. -L unit, -R Router
# A test that cannot run on this machine says "Skipped"; those are counted, and any that is not
# expected to skip here fails the run.
set -euo pipefail
cd "$(dirname "$0")/.."
started=$SECONDS

scripts/setup.sh --tests
echo "test: set-up and build took $((SECONDS - started)) s"
scripts/check.sh
scripts/compile_cuda.sh

. scripts/mpirun_env.sh 4  # the largest number of ranks of a test
rm -f build/ctest.xml
failed=0
# Side by side run those that take one core (PROCESSORS 1: the sanitizers of kernels above all).
ctest --preset release -j 2 --timeout 300 --no-tests=error --output-junit ctest.xml "$@" || failed=1
echo "test: $((SECONDS - started)) s in all"

# Tests labelled `transformers` need the --python part of the set-up, those labelled `nvcc` a CUDA
# compiler and the disassemblers. A test labelled `no_emulation` is there only where it cannot run.
may_skip=no_emulation
python3 scripts/transformers_environment.py || may_skip="$may_skip|transformers"
python3 scripts/kernel_report.py --find-tools || may_skip="$may_skip|nvcc"
python3 - "$may_skip" "$@" <<'PYTHON' || failed=1
import json, subprocess, sys, xml.etree.ElementTree as xml
may_skip, *selection = sys.argv[1:]
cases = list(xml.parse("build/ctest.xml").iter("testcase"))
outcome = {case.get("name"): case.get("status") for case in cases}
skipped = {name for name, status in outcome.items() if status in ("notrun", "disabled")}
num_passed = list(outcome.values()).count("run")

listing = subprocess.run(["ctest", "--test-dir", "build", "--show-only=json-v1", *selection],
                         capture_output=True, text=True, check=True).stdout
expected = set()
for test in json.loads(listing)["tests"]:
    labels = next((p["value"] for p in test.get("properties", []) if p["name"] == "LABELS"), [])
    if set(labels) & set(filter(None, may_skip.split("|"))):
        expected.add(test["name"])
for name in sorted(skipped - expected):
    print(f"test: {name} did not run, but can run here")
for name in sorted(expected - skipped):
    print(f"test: {name} was expected to be skipped here, and was not")
num_failed = len(outcome) - num_passed - len(skipped)
print(f"{num_passed} passed, {num_failed} failed, {len(skipped)} skipped")
sys.exit(skipped != expected)
PYTHON
exit $failed
