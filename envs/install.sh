#!/usr/bin/env bash
# Make the environment: bash envs/install.sh [FOLDER=.venv] [PYTHON=python3] [PINS=envs/requirements.txt] [cpu]
# Needs a Python of 3.11 or newer with pip, and a C++ compiler with Python's headers (for the dense CRF). Nothing outside
# FOLDER and .bootstrap is touched. The versions are those of PINS, checked by their hashes; for GPUs older than Turing,
# such as V100 and P100, that is envs/requirements-cu126.txt (make env TORCH=cu126). With "cpu" (make env CPU=1) torch is its
# build without GPU libraries, of the same version.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
venv=${1:-.venv}
python=${2:-python3}
pins=${3:-envs/requirements.txt}
kind=${4:-}
PATH=${PATH//"$(realpath -m "$venv")/bin:"/} # the environment that is made anew must not be made from itself
say() { printf '[install] %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

[ -f "$pins" ] || die "no $pins; the sets of versions are: $(ls envs/requirements*.txt | tr '\n' ' ')"
case $kind in "" | cpu) ;; *) die "the fourth word is cpu or nothing, not $kind" ;; esac
command -v "$python" >/dev/null || die "no $python; install Python 3.11 or newer, or call: make PYTHON=/path/to/python"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
  die "$("$python" --version) is too old; Python 3.11 or newer is needed: make PYTHON=/path/to/python"
# the Python that an active environment was made with: it has pip where the environment has none
python=$("$python" -c 'import sys; print(sys._base_executable)')
command -v g++ >/dev/null || command -v c++ >/dev/null || [ -n "${CXX:-}" ] ||
  die "no C++ compiler, which the dense CRF needs; on Debian: apt-get install g++"

# uv installs this in a minute; pip, in several. It is fetched into a folder of its own, which also works where the
# system's Python refuses installations (PEP 668) and where python3-venv is missing.
uv=$(command -v uv || true)
if [ -z "$uv" ] && { [ -x .bootstrap/bin/uv ] || "$python" -m pip install --quiet --target .bootstrap uv; }; then
  uv=$PWD/.bootstrap/bin/uv
fi
if ! "$python" -c 'import os, sys, sysconfig as s; sys.exit(not os.path.exists(s.get_paths()["include"] + "/Python.h"))'; then
  say "Python's headers are missing, which the dense CRF needs; fetching a Python that has them"
  export UV_PYTHON_INSTALL_DIR=$PWD/.bootstrap/python
  "$uv" python install --quiet 3.11 && python=$("$uv" python find --managed-python 3.11) ||
    die "that failed; on Debian: apt-get install python3-dev, then again"
fi
export UV_HTTP_TIMEOUT=${UV_HTTP_TIMEOUT:-300}

# The pinned versions without the GPU libraries. Torch's builds for CPUs are other files, with hashes that PINS lacks; those
# of all other packages are checked as always.
without_gpu() {
  awk '/^[^ ]/ { gpu = /^(nvidia-|cuda-|triton==)/; torch = /^torch(vision)?==/; if (torch) sub(/ *\\$/, "") }
    !gpu && !(torch && /^ /)' "$pins"
}

install_pins() {
  if [ "$kind" = cpu ]; then
    without_gpu | "$uv" pip install --torch-backend cpu --no-deps -r - && "$venv/bin/python" -c 'import torch'
  else
    "$uv" pip install --require-hashes -r "$pins"
  fi
}

with_uv() {
  [ -n "$uv" ] || return 1
  rm -rf "$venv"
  "$uv" venv --quiet --python "$(command -v "$python")" "$venv" &&
    VIRTUAL_ENV=$venv install_pins &&
    VIRTUAL_ENV=$venv "$uv" pip install --quiet --no-deps --no-build-isolation -e .
}

with_pip() {
  rm -rf "$venv"
  "$python" -m venv --without-pip "$venv" &&
    "$python" -m pip --python "$venv/bin/python" install --require-hashes -r "$pins" &&
    "$python" -m pip --python "$venv/bin/python" install --quiet --no-deps --no-build-isolation -e .
}

if [ "$kind" = cpu ]; then
  say "installing into $venv (about 2 GB, without GPU libraries)"
  # pip cannot ask for a torch without them by its name alone
  with_uv || die "the installation failed; the reason stands above. Where torch's builds for CPUs cannot be had, leave \
CPU=1 out: the ordinary ones compute on CPUs too, and take 7 GB"
  say "done in ${SECONDS} s"
  exit
fi
say "installing into $venv (about 7 GB with the GPU libraries of torch)"
with_uv || { say "uv could not do it; trying pip" && with_pip; } || die "the installation failed; the reason stands above"
say "done in ${SECONDS} s"
