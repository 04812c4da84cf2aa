#!/usr/bin/env bash
# Reads every #include against the arrows between the folders (README.md): what may know what.
#   scripts/check_layers.sh [ROOT]       exit 1 and file:line of every include that breaks a rule
#   scripts/check_layers.sh --self-test  shows that each kind of forbidden include is found
set -euo pipefail

# One line a folder: the project folders it may include, then the libraries (as awk names them).
# Tests may include what their folder may, and tests/support.
arrows='
kernels        kernels                          torch cuda
parallel       parallel                         torch mpi nccl cuda
moe            moe kernels parallel             torch
trainer        trainer moe kernels parallel     torch yaml cli log json xxhash
tests/kernels  tests kernels                    torch cuda gtest
tests/parallel tests parallel                   torch mpi nccl cuda gtest
tests/moe      tests moe kernels parallel       torch gtest
tests/trainer  tests trainer moe kernels parallel torch yaml cli log json xxhash gtest
tests/support  tests moe kernels parallel trainer torch mpi gtest
tests/bench    tests moe kernels parallel trainer torch mpi json gtest
'

check() {
  cd "$1"
  local files
  files=$(find kernels parallel moe trainer tests -type f 2>/dev/null |
    grep -E '\.(h|cpp|cu|cuh)$' | sort) || { echo "check_layers: no sources in $1"; return 1; }
  # shellcheck disable=SC2086  # one word a file, no blanks in the names of sources
  arrows=$arrows awk '
    BEGIN {
      num_lines = split(ENVIRON["arrows"], lines, "\n")
      for (i = 1; i <= num_lines; i++) {
        num_words = split(lines[i], words, " ")
        for (j = 2; j <= num_words; j++) allowed[words[1], words[j]] = 1
      }
      owned_names = "types base settings tags queue sort search merge partition features"
      num_owned = split(owned_names, owned, " ")
      for (i = 1; i <= num_owned; i++) libstdcxx["parallel/" owned[i] ".h"] = 1
    }
    function library_of(name) {
      if (name ~ /^(ATen|c10|torch)\//) return "torch"
      if (name ~ /^mpi(-ext)?\.h$/) return "mpi"
      if (name ~ /^nccl/) return "nccl"
      if (name ~ /^(cuda|cublas|cub\/|cooperative_groups|curand|thrust\/)/) return "cuda"
      if (name ~ /^yaml-cpp\//) return "yaml"
      if (name ~ /^CLI\//) return "cli"
      if (name ~ /^(spdlog|fmt)\//) return "log"
      if (name ~ /^nlohmann\//) return "json"
      if (name ~ /^xxhash\.h$|^xxh3\.h$/) return "xxhash"
      if (name ~ /^(gtest|gmock)\//) return "gtest"
      if (name ~ /^[a-z0-9_]+$/) return "standard"
      if (name ~ /^(sys|netinet|arpa|linux)\// || name ~ /^[a-z0-9_]+\.h$/) return "standard"
      return "unknown"
    }
    function complain(why) { print FILENAME ":" FNR ": " $0 "   <- " why; bad++ }
    FNR == 1 {
      num_files++
      split(FILENAME, path, "/")
      folder = path[1] == "tests" ? path[1] "/" path[2] : path[1]
      if (FILENAME in libstdcxx) { print FILENAME ": libstdc++ owns this name"; bad++ }
    }
    /^[ \t]*#[ \t]*include/ {
      name = $0
      sub(/^[ \t]*#[ \t]*include[ \t]*/, "", name)
      quoted = name ~ /^"/
      if (name !~ /^["<]/) { complain("a computed include"); next }
      sub(/^["<]/, "", name); sub(/[">].*$/, "", name)
      top = name; sub(/\/.*$/, "", top)
      ours = name ~ /^(kernels|parallel|moe|trainer|tests)\//
      if (name in libstdcxx) complain("libstdc++ owns this name")
      else if (quoted && name ~ /_generated\.h$/) next  # written by CMake for this folder
      else if (quoted && !ours)
        complain("quotes are for our files, from the root of the repository")
      else if (!quoted && ours) complain("our files are included with quotes")
      else if (ours && !((folder, top) in allowed)) complain(folder " must not know " top)
      else if (name ~ /^torch\/(torch|all|nn|optim|serialize|data|script|extension)(\.h|\/)/ ||
               name ~ /^torch\/csrc\/(jit|api)\//)
        complain("10 s a file, or a reader of pickles: include narrowly")
      else if (!ours) {
        library = library_of(name)
        if (library == "unknown") complain("an unknown library: scripts/check_layers.sh lists them")
        else if (library != "standard" && !((folder, library) in allowed))
          complain(folder " must not know " library)
      }
    }
    END {
      if (bad) { print "check_layers: " bad " includes against the arrows"; exit 1 }
      print "check_layers: " num_files " files, every include follows the arrows"
    }' $files
}

# A tree with one forbidden include at a time must fail and name it; the tree without must pass.
self_test() {
  local tree failures=0 file include
  tree=$(mktemp -d)
  trap 'rm -rf "$tree"' RETURN
  mkdir -p "$tree"/{kernels,parallel,moe/model,trainer/data,tests/kernels,tests/moe}
  printf '#include "kernels/ops.h"\n#include <ATen/Functions.h>\n#include <vector>\n' \
    >"$tree/kernels/ops.cpp"
  printf '#include <mpi.h>\n#include "parallel/work.h"\n#include <sys/mman.h>\n' \
    >"$tree/parallel/work.cpp"
  printf '#include "kernels/ops.h"\n#include "parallel/work.h"\n' >"$tree/moe/model/block.cpp"
  printf '#include <yaml-cpp/yaml.h>\n#include "moe/model/block.h"\n' >"$tree/trainer/data/x.cpp"
  printf '#include "kernels/ops.h"\n#include <gtest/gtest.h>\n' >"$tree/tests/kernels/ops_test.cpp"
  if ! (check "$tree") >/dev/null; then
    echo "self-test: a correct tree is refused"; failures=$((failures + 1))
  fi
  while read -r file include; do
    echo "  #  include $include" >"$tree/$file"
    if (check "$tree") >"$tree/found"; then
      echo "self-test: not found: $file: $include"; failures=$((failures + 1))
    elif ! grep -qF "$file:1:" "$tree/found"; then
      echo "self-test: found, but not named: $file: $include"; failures=$((failures + 1))
    fi
    rm "$tree/$file"
  done <<'CASES'
kernels/a.cpp "parallel/communicator.h"
kernels/a.cu "moe/router.h"
kernels/a.h <mpi.h>
kernels/a.cpp "../parallel/communicator.h"
kernels/a.cpp "ops.h"
parallel/a.cpp "kernels/ops.h"
parallel/a.h "moe/router.h"
parallel/a.h <nlohmann/json.hpp>
moe/a.cpp "trainer/exit_code.h"
moe/model/a.h <yaml-cpp/yaml.h>
moe/a.cpp <mpi.h>
trainer/a.cpp <mpi.h>
trainer/a.cpp "tests/support/spawn_ranks.h"
trainer/a.cpp <parallel/communicator.h>
trainer/a.cpp <torch/torch.h>
trainer/a.cpp <torch/nn/modules.h>
trainer/a.cpp <torch/script.h>
trainer/a.cpp <torch/csrc/jit/serialization/pickle.h>
trainer/a.cpp <boost/any.hpp>
trainer/a.cpp SOME_MACRO
tests/kernels/a_test.cpp "moe/router.h"
tests/moe/a_test.cpp <CLI/CLI.hpp>
moe/a.cpp "parallel/types.h"
moe/a.cpp <parallel/base.h>
CASES
  echo '#pragma once' >"$tree/parallel/queue.h"
  if (check "$tree") >/dev/null; then
    echo "self-test: not found: a file named parallel/queue.h"; failures=$((failures + 1))
  fi
  [ $failures = 0 ] || return 1
  echo "self-test: every kind of forbidden include is found"
}

if [ "${1:-}" = --self-test ]; then
  self_test
else
  check "${1:-$(dirname "$0")/..}"
fi
