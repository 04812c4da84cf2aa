#!/usr/bin/env bash
# Formats the C++ and CUDA sources in place with clang-format 14 (.clang-format).
#   scripts/format.sh            all sources
#   scripts/format.sh FILE...    these
#   scripts/format.sh --check    changes nothing; exit 1 and the places where the format differs
set -euo pipefail
cd "$(dirname "$0")/.."

# The output differs between major versions, so one is pinned: Debian 12's.
if command -v clang-format-14 >/dev/null; then
  clang_format=clang-format-14
elif clang-format --version 2>/dev/null | grep -q 'version 14\.'; then
  clang_format=clang-format
else
  echo "format: clang-format 14 is needed: scripts/setup.sh --tests" >&2
  exit 1
fi

options=(-i)
if [ "${1:-}" = --check ]; then
  options=(--dry-run --Werror)
  shift
fi
if [ $# -gt 0 ]; then
  files=("$@")
else
  mapfile -t files < <(
    find kernels parallel moe trainer tests -type f |
      grep -E '\.(h|cpp|cu|cuh)$' | sort)
fi
"$clang_format" "${options[@]}" --style=file "${files[@]}"
