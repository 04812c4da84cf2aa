#!/usr/bin/env bash
# Brings a machine to the point where moesaic is built, and says what it does. Run it again at any
# time: what is there is left alone, and when all is there nothing is downloaded or asked for.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
  cat <<'TEXT'
usage: scripts/setup.sh [options]
  installs the Debian packages that are missing (as root), unpacks LibTorch into .deps/,
  builds build/moesaic. A LibTorch of your own is used when CMAKE_PREFIX_PATH leads to it.
  --no-build      stop before the build
  --no-packages   take the system packages as they are
  --tests         also what scripts/test.sh needs: clang-format 14, the test binaries, and two
                  disassemblers where there is nvcc
  --cuda          also the CUDA libraries that a CUDA binary needs to start (3.2 GB)
  --python        also .deps/venv: transformers, for the checks against it (--cuda and 0.4 GB)
TEXT
}

# --- what is pinned -------------------------------------------------------------
# PyPI wheels. LibTorch is the inside of the torch wheel; its Python dependencies are not needed.
# libtorch_cpu.so of that wheel links the CUDA runtime and CUPTI (13 MB), and nothing else of CUDA.
readonly libtorch_pins=(torch==2.14.1 nvidia-cuda-runtime==13.0.96 nvidia-cuda-cupti==13.0.85)
readonly cuda_pins=(
  nvidia-cublas==13.1.1.3 nvidia-cuda-nvrtc==13.0.88 nvidia-cudnn-cu13==9.24.0.43
  nvidia-cufft==12.0.0.61 nvidia-cufile==1.15.1.6 nvidia-curand==10.4.0.35
  nvidia-cusolver==12.0.4.66 nvidia-cusparse==12.6.3.3 nvidia-cusparselt-cu13==0.8.1
  nvidia-nccl-cu13==2.30.7 nvidia-nvjitlink==13.0.88 nvidia-nvshmem-cu13==3.4.5
  nvidia-nvtx==13.0.85)
# cuobjdump and nvdisasm, which a toolkit may lack (5 MB): scripts/kernel_report.py.
readonly disassembler_pins=(nvidia-cuda-cuobjdump==13.2.86 nvidia-cuda-nvdisasm==13.2.86)
# torch itself comes from .deps/torch; these are what it and the scripts import.
readonly python_pins=(
  transformers==5.23.0 safetensors==0.8.0 numpy==2.4.6
  filelock 'fsspec>=0.8.5' jinja2 'networkx>=2.5.1' 'sympy>=1.13.3' 'typing-extensions>=4.10')

build=yes packages=yes tests=no cuda=no python=no
for option in "$@"; do
  case $option in
    --no-build) build=no ;;
    --no-packages) packages=no ;;
    --tests) tests=yes ;;
    --cuda) cuda=yes ;;
    --python) cuda=yes python=yes ;;
    -h | --help) usage; exit 0 ;;
    *) echo "setup: unknown option $option" >&2; usage >&2; exit 64 ;;
  esac
done

say() { echo "setup: $*"; }
fail() { echo "setup: $*" >&2; exit 1; }

# --- system packages --------------------------------------------------------------
has_command() { command -v "$1" >/dev/null; }
has_nvcc() { has_command nvcc || [ -x "${CUDA_HOME:-/usr/local/cuda}/bin/nvcc" ]; }
has_header() {
  echo "#if !__has_include(<$1>)
#error missing
#endif" | g++ -E -x c++ - >/dev/null 2>&1
}

# Prints the Debian packages whose command or header is not there.
missing_packages() {
  local package probe
  while read -r package probe; do
    $probe >/dev/null 2>&1 || echo "$package"
  done <<'TABLE'
g++                  has_command g++
cmake                has_command cmake
ninja-build          has_command ninja
git                  has_command git
python3              has_command python3
python3-pip          python3 -m pip --version
libopenmpi-dev       has_command mpicxx
openmpi-bin          has_command mpirun
libyaml-cpp-dev      has_header yaml-cpp/yaml.h
libcli11-dev         has_header CLI/CLI.hpp
libspdlog-dev        has_header spdlog/spdlog.h
nlohmann-json3-dev   has_header nlohmann/json.hpp
libxxhash-dev        has_header xxhash.h
libgtest-dev         has_header gtest/gtest.h
libgmock-dev         has_header gmock/gmock.h
TABLE
  if [ $tests = yes ]; then has_clang_format || echo clang-format-14; fi
  if [ $python = yes ]; then
    python3 -c 'import ensurepip, venv' >/dev/null 2>&1 || echo python3-venv
  fi
}

has_clang_format() {
  has_command clang-format-14 || clang-format --version 2>/dev/null | grep -q 'version 14\.'
}

install_packages() {
  local missing
  missing=$(missing_packages | tr '\n' ' ')
  [ -n "$missing" ] || { say "system packages: all there"; return; }
  if [ "$(id -u)" != 0 ] || ! has_command apt-get; then
    say "these Debian packages (or what your system calls them) are missing: $missing"
    say "on Debian: sudo apt-get install --no-install-recommends $missing"
    fail "install them, or use --no-packages if CMake finds them elsewhere"
  fi
  say "installing with apt-get: $missing"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  # shellcheck disable=SC2086  # one word a package
  apt-get install -y -qq --no-install-recommends -o Dpkg::Use-Pty=0 $missing >/dev/null
  missing=$(missing_packages | tr '\n' ' ')
  [ -z "$missing" ] || fail "still missing after the installation: $missing"
}

# --- wheels -------------------------------------------------------------------------
# .deps/installed lists what is completely unpacked. A line is written after the last file of its
# wheel is in its place, so an interrupted download or unpacking is done again.
readonly installed=.deps/installed

is_installed() { grep -qxF "$1" $installed 2>/dev/null; }

own_libtorch() {
  local prefix
  while read -r -d : prefix; do
    if [ -f "$prefix/include/ATen/ATen.h" ] || [ -f "$prefix/torch/include/ATen/ATen.h" ]; then
      echo "$prefix"; return
    fi
  done <<<"${CMAKE_PREFIX_PATH:-}:"
}

wanted_pins() {
  if [ -z "$(own_libtorch)" ] || [ $cuda = yes ]; then printf '%s\n' "${libtorch_pins[@]}"; fi
  if [ $cuda = yes ]; then printf '%s\n' "${cuda_pins[@]}"; fi
  if [ $cuda = yes ] || { [ $tests = yes ] && has_nvcc; }; then
    printf '%s\n' "${disassembler_pins[@]}"
  fi
}

wants_wheels() {
  local pin
  while read -r pin; do
    [ -z "$pin" ] || is_installed "$pin" || return 0
  done <<<"$(wanted_pins)"
  [ $python = yes ] && [ ! -f .deps/venv/complete ]
}

# The interpreter may be of any version: the wheel is opened for its libraries. pip wants every
# platform tag by name when it downloads for another interpreter: glibc 2.17 to 2.28.
wheel_platforms=(--platform manylinux2014_x86_64)
for glibc in {17..28}; do wheel_platforms+=(--platform "manylinux_2_${glibc}_x86_64"); done
install_wheel() {
  local pin=$1 name=${1%%==*}
  say "downloading $pin"
  rm -rf .deps/incoming .deps/unpacking
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
    --implementation cp --python-version 3.11 --abi cp311 --abi abi3 --abi none \
    "${wheel_platforms[@]}" --dest .deps/incoming "$pin" </dev/null
  if [ -f $installed ]; then
    grep -v "^$name==" $installed >$installed.new || true  # another version of it, or nothing
    mv $installed.new $installed
  fi
  [ "$name" != torch ] || rm -rf .deps/torch .deps/torch-*.dist-info
  python3 - .deps/incoming/*.whl .deps/unpacking .deps <<'PYTHON'
import os, sys, zipfile
wheel, unpacking, destination = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive:
    archive.extractall(unpacking)  # verifies the CRC of every file
for folder, _, files in os.walk(unpacking):
    target = os.path.join(destination, os.path.relpath(folder, unpacking))
    os.makedirs(target, exist_ok=True)
    for file in files:
        os.replace(os.path.join(folder, file), os.path.join(target, file))
        if os.path.basename(target) == "bin":  # zipfile forgets the mode
            os.chmod(os.path.join(target, file), 0o755)
PYTHON
  echo "$pin" >>$installed
  rm -rf .deps/incoming .deps/unpacking
}

install_wheels() {
  local pin own
  own=$(own_libtorch)
  [ -z "$own" ] || say "LibTorch: yours, in $own"
  while read -r pin; do
    [ -z "$pin" ] || is_installed "$pin" || install_wheel "$pin"
  done <<<"$(wanted_pins)"
  [ ! -f $installed ] || say ".deps has: $(tr '\n' ' ' <$installed)"
}

# --- the optional Python part ---------------------------------------------------------
# The environment imports torch from .deps/torch, so there is one copy of it.
install_python() {
  local line
  [ ! -f .deps/venv/complete ] || { say ".deps/venv: there"; return; }
  python3 -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' ||
    fail "--python needs Python 3.11, here is $(python3 --version). With another: pip install" \
      "torch==2.14.1 ${python_pins[*]} in an environment of yours, and run the scripts with it"
  say "making .deps/venv"
  rm -rf .deps/venv
  python3 -m venv .deps/venv
  .deps/venv/bin/python -m pip install --quiet --disable-pip-version-check "${python_pins[@]}"
  echo ../../../.. >.deps/venv/lib/python3.11/site-packages/moesaic_deps.pth  # .deps itself
  line=$(.deps/venv/bin/python -c 'import torch, transformers
print("torch", torch.__version__, "transformers", transformers.__version__)')
  echo "$line" >.deps/venv/complete
  say ".deps/venv: $line"
}

# --- build ------------------------------------------------------------------------------
# One compiler needs up to 2 GB of memory. CMAKE_BUILD_PARALLEL_LEVEL overrides the number.
build_jobs() {
  local cores memory_kib by_memory
  cores=$(nproc)
  memory_kib=$(awk '/^MemAvailable/ {print $2}' /proc/meminfo)
  by_memory=$((memory_kib / 2097152))
  [ $by_memory -ge 1 ] || by_memory=1
  echo "${CMAKE_BUILD_PARALLEL_LEVEL:-$((cores < by_memory ? cores : by_memory))}"
}

build() {
  local target=moesaic
  [ $tests = no ] || target=all
  say "building $target with $(build_jobs) jobs"
  cmake --preset release --log-level=NOTICE
  cmake --build --preset release --target $target -j "$(build_jobs)"
  say "build/moesaic is ready"
}

main() {
  [ $packages = no ] || install_packages
  if wants_wheels && [ "$(uname -sm)" != "Linux x86_64" ]; then
    fail "the pinned LibTorch is for Linux x86_64: set CMAKE_PREFIX_PATH to one for $(uname -sm)"
  fi
  mkdir -p .deps
  exec 9>.deps/lock
  flock 9  # two set-ups at once: the second waits, then finds all there
  install_wheels
  [ $python = no ] || install_python
  flock -u 9
  [ $build = no ] || build
}
main
