#!/usr/bin/env bash
# Every gate that needs no build: form, names, arrows. scripts/test.sh and so CI run it first.
# Prints one line a gate and what breaks it; exit 1 if any gate is broken.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

# Files of the project: tracked ones and new ones that git does not ignore; all without git.
project_files() {
  git ls-files --cached --others --exclude-standard 2>/dev/null ||
    find . -type f -not -path './.*' -not -path './build*' -not -path './runs/*' \
      -not -path './data/*' | sed 's,^\./,,'
}
mapfile -t files < <(project_files | while read -r file; do [ -f "$file" ] && echo "$file"; done)
select_files() { printf '%s\n' "${files[@]}" | grep -E "$1"; }

cpp_files=$(select_files '\.(h|cpp|cu|cuh)$')
script_files=$(select_files '(\.(sh|py)$|^\.ci/run$)')
build_files=$(select_files '(CMakeLists\.txt|\.cmake|CMakePresets\.json)$')
yaml_files=$(select_files '\.ya?ml$')
source_files="$cpp_files $script_files $build_files $yaml_files"

broken=0 num_gates=0
# gate NAME COMMAND...: broken when the command fails or prints anything.
gate() {
  local name=$1 found
  shift
  num_gates=$((num_gates + 1))
  if found=$("$@" 2>&1) && [ -z "$found" ]; then
    echo "check: ok      $name"
  else
    broken=$((broken + 1))
    echo "check: BROKEN  $name"
    head -40 <<<"$found" | sed 's/^/    /'
  fi
}
# nowhere PATTERN LISTS...: prints the matches of a pattern that must not be there.
nowhere() {
  local pattern=$1
  shift
  # shellcheck disable=SC2048,SC2086  # the lists hold one word a file
  grep -nE "$pattern" $* /dev/null || [ $? = 1 ]
}

# --- form ----------------------------------------------------------------------------
long_files() {
  local file lines limit
  for file in $source_files README.md; do
    [ -f "$file" ] || continue
    limit=500
    [ "$file" != README.md ] || limit=150
    lines=$(wc -l <"$file")
    [ "$lines" -le $limit ] || echo "$file: $lines lines, at most $limit"
  done
}
# shellcheck disable=SC2086
long_lines() { awk 'length > 100 {print FILENAME ":" FNR ": " length " columns"}' $source_files; }
not_ascii() { LC_ALL=C grep -nP '[^\x00-\x7F]' $source_files || [ $? = 1 ]; }
bash_syntax() {
  local file
  for file in $(select_files '(\.sh$|^\.ci/run$)'); do bash -n "$file"; done
}
python_syntax() {
  # shellcheck disable=SC2046
  python3 - $(select_files '\.py$') <<'PYTHON'
import ast, sys
for file in sys.argv[1:]:
    ast.parse(open(file).read(), file)
PYTHON
}

# --- names ---------------------------------------------------------------------------
# snake_case; no drawers without a name; nothing at the top that README.md does not name.
file_names() {
  printf '%s\n' "${files[@]}" | grep -vE '^tests/golden/' |
    grep -vE '(^|/)(CMakeLists\.txt|CMakePresets\.json|README\.md)$' |
    grep -vE '^(CONTRIBUTING\.md|CHANGELOG\.md|LICENSE|\.[a-z/_.-]+)$' |
    grep -vE '^([a-z0-9_]+/)+[a-z0-9_]+(\.[a-z0-9]+)?$' | sed 's/$/: not snake_case/'
  printf '%s\n' "${files[@]}" | grep -E '(^|/)(utils?|helpers?|common|misc|core)(/|\.)' |
    sed 's/$/: a name that says nothing/'
  printf '%s\n' "${files[@]}" | grep / | cut -d/ -f1 | sort -u |
    grep -vE '^(kernels|parallel|moe|trainer|configs|scripts|tests|\..*)$' |
    sed 's/$/: a new top-level folder/'
  return 0
}
# Every source stands in the CMakeLists.txt of one of the folders above it, by its path from there.
unlisted_sources() {
  local file folder
  for file in $(select_files '\.(cpp|cu)$'); do
    folder=$(dirname "$file")
    while :; do
      ! grep -qsE "(^|[ (\"/])${file#"$folder"/}([ )\"]|$)" "$folder/CMakeLists.txt" || break
      [ "$folder" != . ] || { echo "$file: in no CMakeLists.txt"; break; }
      folder=$(dirname "$folder")
    done
  done
}

# --- what must not be there --------------------------------------------------------------
no_pickles() {
  nowhere 'torch::(load|save|jit|pickle)' "$cpp_files"
  nowhere '\btorch\.(load|save)\(|\bimport pickle' "$(select_files '\.py$')"
}
no_marks() { nowhere '\b(TO[D]O|FIX[M]E|XX[X])\b' "$source_files"; }
no_places() {
  nowhere '[.][.]/shared|/work/(shared|wt|main)|[d]esign\.md' "$source_files" \
    "$(select_files '\.md$')"
}
no_hosts() { nowhere 'https?:/[/]|--index-[u]rl' "$script_files" "$build_files"; }
no_silent_skips() {
  nowhere 'GTEST_SKIP\(\) *;|\bDISABLED_' "$(select_files '^tests/.*\.(cpp|h)$')"
}
# Kernels keep to what the emulation can run, and to sums whose order is fixed. A float atomicAdd
# that no pattern shows does not compile in the emulation (kernels/cuda/emulation/atomics.h).
kernel_language() {
  local kernel_files
  kernel_files=$(select_files '^kernels/cuda/[^/]*\.(cu|cuh|h)$' | grep -v '/launch\.h$')
  nowhere '<<<|__activemask' "$kernel_files"
  nowhere 'extern[^"]*__shared__' "$kernel_files"
  nowhere 'atomicAdd.*(float|double|half|[0-9]\.[0-9]*f?\b)' "$kernel_files"
}
no_large_files() {  # data and builds do not belong into git
  git ls-files -ci --exclude-standard 2>/dev/null
  git ls-files 2>/dev/null | while read -r file; do
    [ ! -f "$file" ] || [ "$(stat -c %s "$file")" -le 1048576 ] || echo "$file: over 1 MiB"
  done
}
layers() { scripts/check_layers.sh | grep -v 'follows the arrows'; return "${PIPESTATUS[0]}"; }

gate "clang-format 14" scripts/format.sh --check
gate "files of at most 500 lines, README.md 150" long_files
gate "lines of at most 100 columns" long_lines
gate "sources are ASCII" not_ascii
gate "shell scripts parse" bash_syntax
gate "Python scripts parse" python_syntax
gate "file and folder names" file_names
gate "every source is listed in a CMakeLists.txt" unlisted_sources
gate "includes follow the arrows, none is torch/torch.h" layers
gate "no pickles: torch::load, torch::save, jit" no_pickles
gate "no unfinished marks" no_marks
gate "no path outside the repository" no_places
gate "no host named in scripts and build files" no_hosts
gate "a skipped test says why, none is disabled" no_silent_skips
gate "kernels: no <<<, extern __shared__, __activemask, float atomicAdd" kernel_language
gate "no ignored and no large file in git" no_large_files

echo "check: $((num_gates - broken)) of $num_gates gates hold"
[ $broken = 0 ]
