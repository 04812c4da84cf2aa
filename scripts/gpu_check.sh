#!/usr/bin/env bash
# All that waits for a GPU, on a machine that has one: builds for it, runs the tests of kernels and
# operators natively and under compute-sanitizer, parity of each golden case, training and the
# benchmarks on the GPU, and writes one report. Needs no network.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

usage() {
  cat <<'TEXT'
usage: scripts/gpu_check.sh [--report FILE] [--architectures LIST] [--jobs N]
  --report FILE         default: gpu_check_report.md in the build folder
  --architectures LIST  as for CMake, 90-real;100-real; default: the GPU's, without one all
  --jobs N              compilers at once; default: all cores
needs: a GPU; nvcc and compute-sanitizer (PATH, CUDA_HOME/bin, /usr/local/cuda/bin); CMake, Ninja
and the libraries of README.md; LibTorch >= 2.11 with CUDA: where CMAKE_PREFIX_PATH leads, else the
torch of python3, else that of scripts/setup.sh --cuda
exit: 0 every step passed; 1 a step failed; 77 none failed, but some could not run: the report says
which, and why
TEXT
}

report= architectures= jobs=$(nproc)
while [ $# -gt 0 ]; do
  case $1 in
    --report) report=${2:?a file}; shift ;;
    --architectures) architectures=${2:?a list}; shift ;;
    --jobs) jobs=${2:?a number}; shift ;;
    --help) usage; exit 0 ;;
    *) echo "gpu_check: unknown option $1" >&2; usage >&2; exit 64 ;;
  esac
  shift
done

readonly build=build-cuda cannot_run=77
# nvidia-smi and CUDA then mean the same GPU by "the first".
export CUDA_DEVICE_ORDER=PCI_BUS_ID
# gpu_query FIELDS [,noheader]: of the GPU that CUDA takes; of the first, where nvidia-smi does not
# know the name that CUDA_VISIBLE_DEVICES has for it (MIG, shortened ids).
gpu_query() {
  local visible=${CUDA_VISIBLE_DEVICES-0}
  [ -n "$visible" ] || { echo "CUDA_VISIBLE_DEVICES is empty"; return 1; }
  nvidia-smi --id="${visible%%,*}" --query-gpu="$1" --format=csv"${2:-}" ||
    nvidia-smi --id=0 --query-gpu="$1" --format=csv"${2:-}"
}
export PATH="$PATH:${CUDA_HOME:-/usr/local/cuda}/bin"
mkdir -p $build
report=$(realpath -m "${report:-$build/gpu_check_report.md}")
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
num_passed=0 num_failed=0 num_not_run=0

write() { printf '%s\n' "$@" >>"$report"; }

# result NAME WORD [REASON]: a line on the terminal and in the report.
result() {
  case $2 in
    passed) num_passed=$((num_passed + 1)) ;;
    FAILED) num_failed=$((num_failed + 1)) ;;
    *) num_not_run=$((num_not_run + 1)) ;;
  esac
  echo "gpu_check: $1: $2${3:+: $3}"
  write "" "## $1: $2" "" "${3:-}"
}

# step NAME LINES COMMAND...: runs it. The report gets its last lines; 77 means: cannot run here.
step() {
  local name=$1 lines=$2 code=0 started=$SECONDS
  shift 2
  "$@" >"$logs/log" 2>&1 || code=$?
  case $code in
    0) result "$name" passed ;;
    $cannot_run) result "$name" "COULD NOT RUN" "$(tail -1 "$logs/log")" ;;
    *) result "$name" FAILED "exit $code" ;;
  esac
  write '```' "\$ $*" "$(tail -n "$lines" "$logs/log")" '```' "$((SECONDS - started)) s"
  return $code
}

says_why() { echo "$*"; return $cannot_run; }

# --- the machine ------------------------------------------------------------------------
has_gpu() {
  command -v nvidia-smi >/dev/null || says_why "no nvidia-smi: no driver, no GPU" || return
  gpu_query name,compute_cap,driver_version,memory.total ||
    says_why "nvidia-smi finds no GPU"
}

has_nvcc() {
  command -v nvcc >/dev/null || says_why "no nvcc on the PATH nor in /usr/local/cuda/bin" || return
  nvcc --version
}

# Prints the folder of LibTorch last.
has_torch() {
  local folder paths=${CMAKE_PREFIX_PATH:-}
  for folder in ${paths//[:;]/ }; do
    [ ! -f "$folder/include/ATen/ATen.h" ] && [ ! -f "$folder/torch/include/ATen/ATen.h" ] ||
      { echo "$folder"; return; }
  done
  ! torch_of_python || return 0
  [ -f .deps/torch/lib/libtorch_cuda.so ] || says_why "no torch >= 2.11 with CUDA" || return
  echo "$PWD/.deps"
}

torch_of_python() {
  python3 - <<'PYTHON'
import re, sys
try:
    import torch
except Exception as why:
    sys.exit(f"python3 has no torch: {why}")
print(f"torch {torch.__version__}, CUDA {torch.version.cuda}")
version = tuple(int(part) for part in re.findall(r"\d+", torch.__version__)[:2])
if version < (2, 11) or torch.version.cuda is None:
    sys.exit(f"torch >= 2.11 with CUDA is needed, here is {torch.__version__}")
print(torch.__path__[0])
PYTHON
}

# --- steps ------------------------------------------------------------------------------
configure() {
  local chosen=-UMOESAIC_CUDA_ARCHITECTURES  # the preset's: all
  if [ -n "$architectures" ]; then
    chosen=-DMOESAIC_CUDA_ARCHITECTURES=$architectures
  elif [ $gpu = yes ]; then
    chosen=$(gpu_query compute_cap ,noheader | tr -d .)
    chosen=-DMOESAIC_CUDA_ARCHITECTURES=$chosen-real
  fi
  cmake --preset cuda -DMOESAIC_TESTS=ON "$chosen"
}

sanitize() {
  command -v compute-sanitizer >/dev/null || says_why "no compute-sanitizer" || return
  # Its own code for what it found; that of the tests otherwise.
  compute-sanitizer --tool "$1" --error-exitcode 99 --print-limit 20 \
    $native_test --gtest_brief=1
}

parity() { $build/moesaic parity "$@" --trainer.device=cuda --kernel-log; }

# memcheck of a program that uses LibTorch: the glue between tensors and kernels, and the streams of
# the experts. Without the cache each tensor is an allocation, so that what lies beyond it is seen;
# calls of the driver that fail and are let fail are none of ours.
memcheck() {
  command -v compute-sanitizer >/dev/null || says_why "no compute-sanitizer" || return
  PYTORCH_NO_CUDA_MEMORY_CACHING=1 compute-sanitizer --tool memcheck --error-exitcode 99 \
    --print-limit 20 --report-api-errors no "$@"
}

# The verb prints bytes and operations a second beside the yardsticks of the same run.
bench() { $build/moesaic bench "$@" --trainer.device=cuda; }

# Of the architectures of the table, the one whose code this GPU would take.
kernel_report() {
  local capability=0 architecture chosen=sm_80
  [ $gpu = no ] ||
    capability=$(gpu_query compute_cap ,noheader | tr -d .)
  [[ $capability =~ ^[0-9]+$ ]] || capability=0
  for architecture in 80 90 100 120; do
    [ "$capability" -lt $architecture ] || chosen=sm_$architecture
  done
  python3 scripts/kernel_report.py --check --arch $chosen
}

: >"$report"
write "# GPU check" "" "Commit $(git rev-parse HEAD 2>/dev/null || echo unknown), $(date -u +%F), \
$(nproc) cores. Nothing in here was measured anywhere else."
gpu=yes
step "GPU" 20 has_gpu || gpu=no
built=yes
if step "nvcc" 5 has_nvcc && step "torch" 5 has_torch; then
  CMAKE_PREFIX_PATH=$(tail -1 "$logs/log")${CMAKE_PREFIX_PATH:+:$CMAKE_PREFIX_PATH}
  export CMAKE_PREFIX_PATH
  targets=(moesaic cuda_kernels_native_test kernels_gpu_test)
  step "configure" 40 configure &&
    step "build" 40 cmake --build --preset cuda -j "$jobs" --target "${targets[@]}" ||
    built=no
else
  built=no
fi

why_not=
[ $gpu = yes ] || why_not="no GPU"
[ $built = yes ] || why_not="${why_not:+$why_not, }no build"
# on_gpu NAME LINES COMMAND...: a step that needs both.
on_gpu() {
  if [ -n "$why_not" ]; then result "$1" "COULD NOT RUN" "$why_not"; else step "$@"; fi
}

native_test=$build/tests/kernels/cuda/cuda_kernels_native_test
operator_test=$build/tests/kernels/cuda/kernels_gpu_test
on_gpu "kernel tests" 20 $native_test --gtest_brief=1
on_gpu "operator tests" 60 $operator_test --gtest_brief=1
for tool in memcheck racecheck synccheck; do
  on_gpu "compute-sanitizer $tool" 40 sanitize $tool
done
for folder in tests/golden/olmoe*; do
  on_gpu "parity ${folder##*/}" 60 parity "$folder"
done
on_gpu "operator tests under memcheck" 40 memcheck $operator_test --gtest_brief=1
on_gpu "parity under memcheck" 40 memcheck \
  $build/moesaic parity tests/golden/olmoe_capacity_position --trainer.device=cuda
on_gpu "training" 40 bash tests/end_to_end/gpu_training.sh $build/moesaic
for dtype in float32 bfloat16; do
  on_gpu "bench operators $dtype" 60 bench operators --dtype $dtype
  on_gpu "bench layer $dtype" 60 bench layer --dtype $dtype
done
on_gpu "bench layer bfloat16 cublas" 60 \
  bench layer --dtype bfloat16 --kernels.grouped_gemm=cublas
on_gpu "bench step" 60 bench step configs/bench.yaml
step "kernel report" 40 kernel_report

write "" "$num_passed passed, $num_failed failed, $num_not_run could not run."
echo "gpu_check: $num_passed passed, $num_failed failed, $num_not_run could not run: $report"
[ $num_failed = 0 ] || exit 1
[ $num_not_run = 0 ] || exit $cannot_run
