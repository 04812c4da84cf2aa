#!/usr/bin/env bash
# Compiles every kernel for one GPU architecture, warnings as errors, where there is nvcc; says so
# where there is none. No GPU is needed. scripts/test.sh and so CI run it.
#   scripts/compile_cuda.sh [ARCHITECTURE]      sm_90 unless given
set -euo pipefail
cd "$(dirname "$0")/.."
architecture=${1:-sm_90}
started=$SECONDS

nvcc=$(PATH=${CUDA_HOME:+$CUDA_HOME/bin:}$PATH:/usr/local/cuda/bin command -v nvcc) || {
  echo "cuda: no nvcc here: the CUDA kernels were NOT compiled for a GPU"
  exit 0
}
num_files=0
for file in kernels/cuda/*.cu; do
  "$nvcc" -std=c++20 -O3 -arch="$architecture" -Werror all-warnings \
    -Xcompiler -Wall,-Wextra,-Werror -I. -c "$file" -o /dev/null
  num_files=$((num_files + 1))
done
[ $num_files -gt 0 ] || { echo "cuda: no kernels in kernels/cuda"; exit 1; }
echo "cuda: $num_files files compiled for $architecture by $nvcc in $((SECONDS - started)) s;" \
  "nothing was run on a GPU"
