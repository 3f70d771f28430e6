#!/bin/bash
# Make a virtual environment in this checkout, or keep it if it is up to date, and print its path.
#
#   tools/venv.sh <python> [stack|oracle|browser|lint]
#
# stack (default): the pinned stack on Python 3.6, the modern one on 3.9 to 3.13, with the test tools and this package.
# oracle: the modern stack with torchvision, for the tests that compare with it. browser, lint: only what drives a browser, and
# linters.
#
# Two stamps, each written last, record what an environment was made from: other locks or another interpreter remake it;
# other sources, compilers or settings of the operator reinstall this package. CENTERNET_DCN=compiled makes a failure to
# compile it an error. TORCH_INDEX= is the URL of the package index for the modern stack's torch.
set -euo pipefail
cd "$(dirname "$0")/.."

python=${1:?usage: tools/venv.sh <python> [stack|oracle|browser|lint]}
purpose=${2:-stack}
case $purpose in browser | lint) needs_package= ;; *) needs_package=yes ;; esac
PYTORCH_CPU_INDEX=https://download.pytorch.org/whl/cpu

say() { echo "venv: $*" >&2; }
fail() { say "error: $*" && exit 2; }

interpreter=$("$python" -c 'import os, sys
print(" ".join(["%d.%d" % sys.version_info[:2], os.path.realpath(sys.executable)] + sys.version.split()))' 2>/dev/null) ||
    fail "cannot run PYTHON=$python; use Python 3.6 (pinned stack) or 3.9 to 3.13 (modern stack)"
version=${interpreter%% *}
case $purpose-$version in
    stack-3.6) venv=.venv-pinned locks=(requirements/pinned{-bootstrap,,-test,-source}.txt patches/torch-1.0.0/*) ;;
    stack-3.9 | stack-3.1[0-3]) venv=.venv-$version locks=(requirements/modern{,-test,-torch}.txt) ;;
    oracle-3.9 | oracle-3.1[0-3]) venv=.venv-oracle locks=(requirements/modern{,-test}.txt requirements/oracle-torch.txt) ;;
    browser-3.1[0-3]) venv=.venv-browser locks=(requirements/browser.txt) ;;
    lint-3.9 | lint-3.1[0-3]) venv=.venv-lint locks=(requirements/lint.txt) ;;
    stack-* | oracle-* | browser-* | lint-*)
        fail "$python is Python $version; use 3.9 to 3.13 (modern stack) or, for stack, 3.6 (pinned stack)" ;;
    *) fail "unknown environment '$purpose'; use stack, oracle, browser or lint" ;;
esac
venv=$PWD/$venv

environment="$PWD $interpreter $(cksum tools/venv.sh "${locks[@]}")"
# What the operator is compiled with. Of the toolkits in which build_extension.py looks, only the files that it needs: in
# /usr and the like there is much else. Those of Python packages also have versions of their parts.
toolkits=("${CUDA_HOME:-${CUDA_PATH:-/usr/local/cuda}}" "$venv"/lib/python*/site-packages/nvidia/cu*)
if nvcc=$(type -P nvcc); then toolkits+=("${nvcc%/*/*}"); fi
compilers=$(
    export LC_ALL=C
    for compiler in "${CXX:-g++}" "${CC:-gcc}" "${NVCC_CCBIN:-g++}"; do
        $compiler --version 2>/dev/null || true # with its options, if it has any
    done
    for toolkit in "${toolkits[@]}"; do
        if "$toolkit/bin/nvcc" --version; then
            ls -d "$toolkit"/{bin/{nvcc,ptxas,fatbinary,cudafe++},nvvm/bin/cicc,nvvm/libdevice/*} \
                "$toolkit"/{include/{cuda*,crt,nv,cccl},include/cccl/nv,lib{,64}/libcudart*} \
                "$toolkit"/../../nvidia_{cuda,nvvm}*.dist-info || true
        fi
    done 2>/dev/null | cksum
)
settings=$(
    for name in CC CXX CFLAGS CXXFLAGS CPPFLAGS LDFLAGS CPATH CPLUS_INCLUDE_PATH LIBRARY_PATH CUDA_HOME CUDA_PATH \
        TORCH_CUDA_ARCH_LIST TORCH_DONT_CHECK_COMPILER_ABI NVCC_{CCBIN,PREPEND_FLAGS,APPEND_FLAGS}; do
        echo "$name=${!name:-}"
    done
)
package="$(cksum setup.py setup.cfg pyproject.toml src/centernet/kernels/build_extension.py src/centernet/kernels/csrc/*)
$settings $compilers"
if [ -z "$needs_package" ]; then package=none CENTERNET_DCN=; fi

has_environment() {
    [ "$(cat "$venv/environment.stamp" 2>/dev/null)" = "$environment" ] && "$venv/bin/python" -c '' 2>/dev/null
}

has_package() {
    local stamp
    stamp=$(cat "$venv/package.stamp" 2>/dev/null) || return
    [ "$stamp" = "compiled $package" ] || { [ "$stamp" = "$package" ] && [ "${CENTERNET_DCN:-}" != compiled ]; }
}

pip_install() {
    local pip=("$venv/bin/python" -m pip install --disable-pip-version-check "$@") log=$venv/install.log
    if [ -t 2 ]; then
        "${pip[@]}" >&2
    elif ! "${pip[@]}" >"$log" 2>&1; then
        tail -n 30 "$log" >&2
        say "error: pip failed; its whole output is in $log"
        return 1
    fi
}

answers() {
    # The alarm also ends name resolution, which has no time limit of its own.
    { "$venv/bin/python" -c 'import signal, sys, urllib.request
signal.alarm(5)
urllib.request.urlopen(sys.argv[1])' "$1"; } >/dev/null 2>&1
}

# On Linux, the plain version of torch is usually the CUDA build. Without an NVIDIA driver, prefer the CPU build (+cpu).
install_torch() {
    local lock=requirements/modern-torch.txt cpu=$venv/torch-cpu.txt
    if [ -n "${TORCH_INDEX:-}" ]; then
        pip_install --index-url "$TORCH_INDEX" -r "$lock"
        return
    fi
    if [ "$(uname -s)" = Linux ] && ! [ -e /proc/driver/nvidia/version ] && ! command -v nvidia-smi >/dev/null; then
        sed -E 's/^(torch==[0-9.]+)/\1+cpu/' "$lock" >"$cpu"
        pip_install -r "$cpu" 2>/dev/null && return
        answers "$PYTORCH_CPU_INDEX/torch/" && pip_install --index-url "$PYTORCH_CPU_INDEX" --no-deps -r "$cpu" && return
        say "torch may now be the CUDA build (several GB); for the CPU build, stop and pass an index: TORCH_INDEX=<URL>"
    fi
    pip_install -r "$lock"
}

make_environment() {
    say "making $venv"
    rm -f "$venv/environment.stamp"
    rm -rf "$venv"
    "$python" -m venv "$venv" >&2 || fail "'$python -m venv' failed; on Debian and Ubuntu, install python3-venv"
    case $venv in
        *-browser | *-lint) pip_install --require-hashes -r "${locks[0]}" ;;
        *-pinned)
            command -v patch >/dev/null || fail "the program 'patch' is missing; torch 1.0.0 is patched with it"
            say "installing the pinned stack; torch 1.0.0 is a download of 600 MB"
            pip_install --require-hashes -r requirements/pinned-bootstrap.txt
            pip_install --require-hashes --no-deps -r requirements/pinned.txt -r requirements/pinned-test.txt
            patches/torch-1.0.0/apply.sh "$venv/bin/python" >&2
            pip_install --require-hashes --no-deps --no-build-isolation -r requirements/pinned-source.txt
            ;;
        *)
            say "installing the modern stack"
            pip_install --require-hashes --only-binary :all: -r requirements/modern.txt -r requirements/modern-test.txt
            if [ "$purpose" = oracle ]; then pip_install -r requirements/oracle-torch.txt; else install_torch; fi
            ;;
    esac
    echo "$environment" >"$venv/environment.stamp"
}

install_package() {
    local operator problems
    rm -f "$venv/package.stamp"
    if [ -n "$needs_package" ]; then
        if [ "${CENTERNET_DCN:-}" = reference ]; then unset CENTERNET_DCN; fi # concerns running, not installing
        say "installing this package and compiling its operator"
        operator=$("$venv/bin/python" -c 'import sys, torch
sys.path.append("src/centernet/kernels")
print(__import__("build_extension").extension_name(torch.__version__))')
        rm -f "src/centernet/kernels/$operator".* # from earlier sources; must not stay if compiling fails
        # through a pipe, so that the compiler's output goes to the log
        pip_install -v --no-deps --no-build-isolation --no-index -e . 2>&1 | cat >&2
        problems=$("$venv/bin/python" -m pip check --disable-pip-version-check 2>&1) || fail "$problems"
        "$venv/bin/python" - "$venv/install.log" >&2 <<'PYTHON'
import re
import sys
import torch
from centernet.kernels import compiled
with open(sys.argv[1], encoding='utf-8', errors='replace') as log:
    reason = re.search('without the compiled operator: (.*)', log.read())
reason = reason.group(1) if reason else 'see ' + sys.argv[1]
print('venv: deformable convolution:', compiled.description() or 'not compiled, much slower: ' + reason)
if torch.version.cuda and compiled.why_no_cuda():
    print('venv: without CUDA:', compiled.why_no_cuda())
PYTHON
        if [ "${CENTERNET_DCN:-}" = compiled ]; then package="compiled $package"; fi
    fi
    echo "$package" >"$venv/package.stamp"
}

if ! has_environment || ! has_package; then
    # One install at a time. The lock is on this file; it is released when this process ends.
    exec 9<tools/venv.sh
    "$python" -c 'import fcntl, sys
try:
    fcntl.flock(9, fcntl.LOCK_EX | fcntl.LOCK_NB)
except (IOError, OSError):
    sys.stderr.write("venv: waiting for another install in this checkout\n")
    fcntl.flock(9, fcntl.LOCK_EX)'
    has_environment || make_environment
    has_package || install_package
    say "ready: $venv"
fi
echo "$venv"
