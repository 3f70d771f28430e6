#!/bin/bash
# Make a virtual environment for this checkout, whole or not at all, and print its path.
#
#   tools/venv.sh <python> [stack|oracle|lint]
#
# stack (the default): the pinned stack for Python 3.6, the modern one for 3.9 to 3.13, with the test tools and this package. The
# pinned stack's torch is patched (patches/torch-1.0.0), which needs the program 'patch'.
# oracle: the modern stack with torchvision instead, for the tests that compare with it. lint: the linters only.
#
# An environment that was made from the same locks, settings and interpreter is used again; where only the compiled operator's
# source or the C++ compiler has changed, that alone is built again. CENTERNET_DCN=compiled insists on it. TORCH_INDEX names the index
# that torch is taken from on the modern stack; what is said on the way goes to standard error.
set -euo pipefail
cd "$(dirname "$0")/.."

python=${1:?usage: tools/venv.sh <python> [stack|oracle|lint]}
purpose=${2:-stack}

say() { echo "venv: $*" >&2; }
fail() {
    say "error: $*"
    exit 2
}

version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) ||
    fail "PYTHON=$python cannot be run; name a Python 3.6 (pinned stack) or 3.9 to 3.13 (modern stack)"
case $version in
    3.6) stack=pinned ;;
    3.9 | 3.10 | 3.11 | 3.12 | 3.13) stack=modern ;;
    *) fail "$python is Python $version, which has no lock here; name a 3.6 (pinned stack) or 3.9 to 3.13 (modern stack) with PYTHON=" ;;
esac
if [ "$purpose" != stack ] && [ "$stack" = pinned ]; then
    fail "the $purpose environment needs Python 3.9 to 3.13, and $python is 3.6"
fi

project=(setup.py setup.cfg pyproject.toml)
patches=()
operator=(src/centernet/dcn/build_extension.py src/centernet/dcn/csrc/*)
case $purpose in
    stack)
        venv=.venv-$version
        locks=(requirements/modern{,-test,-torch}.txt)
        if [ "$stack" = pinned ]; then
            venv=.venv-pinned
            locks=(requirements/pinned{-bootstrap,,-source,-test}.txt)
            patches=(patches/torch-1.0.0/{apply.sh,series,*.patch,*.sha256})
        fi
        ;;
    oracle)
        venv=.venv-oracle
        locks=(requirements/modern{,-test}.txt requirements/oracle-torch.txt)
        ;;
    lint)
        venv=.venv-lint
        locks=(requirements/lint.txt)
        project=()
        operator=()
        ;;
    *) fail "unknown environment '$purpose': stack, oracle or lint" ;;
esac
venv=$PWD/$venv

# checksum_of <tool> <file>...: of the files' content, the interpreter and the checkout, and the tool's version
checksum_of() {
    "$python" - "$PWD:$1" "${@:2}" <<'PYTHON'
import hashlib
import os
import sys

digest = hashlib.sha256(repr((sys.version, os.path.realpath(sys.executable), sys.argv[1])).encode())
for name in sys.argv[2:]:
    with open(name, 'rb') as file:
        digest.update(file.read())
print(digest.hexdigest())
PYTHON
}

checksum=$(checksum_of '' "${locks[@]}" ${project[@]+"${project[@]}"} ${patches[@]+"${patches[@]}"} tools/venv.sh)
compiler=$("${CXX:-g++}" --version 2>/dev/null | head -n 1 || true)
built=$(checksum_of "$compiler" ${operator[@]+"${operator[@]}"})

is_whole() { [ "$(cat "$venv/made-from" 2>/dev/null)" = "$checksum" ] && "$venv/bin/python" -c '' 2>/dev/null; }
is_built() { [ "$(cat "$venv/built-from" 2>/dev/null)" = "$built" ]; }

if is_whole && is_built; then
    echo "$venv"
    exit
fi

# One install at a time: two would write the same files.
lock=$PWD/.venv.lock
waiting=
until mkdir "$lock" 2>/dev/null; do
    owner=$(cat "$lock/pid" 2>/dev/null || true)
    if [ -n "$owner" ] && ! kill -0 "$owner" 2>/dev/null; then
        rm -rf "$lock"
        continue
    fi
    [ -n "$waiting" ] || say "waiting for the install that holds $lock"
    waiting=yes
    sleep 1
done
echo $$ >"$lock/pid"
trap 'rm -rf "$lock"' EXIT
trap 'exit 130' INT TERM

if is_whole && is_built; then
    echo "$venv"
    exit
fi

# A person watches pip at work; elsewhere its report is kept in a file, and shown when it fails.
log=$venv/install.log
pip_install() {
    local pip=("$venv/bin/python" -m pip install --disable-pip-version-check "$@")
    if [ -t 2 ]; then
        "${pip[@]}" >&2
    elif ! "${pip[@]}" >"$log" 2>&1; then
        tail -n 30 "$log" >&2
        return 1
    fi
}

# PyTorch's CPU wheels carry '+cpu' in their version. Where no index that pip knows has them, the plain version may be the
# CUDA build.
install_torch() {
    local requirements=$1 cpu=$venv/torch-cpu.txt
    if [ -n "${TORCH_INDEX:-}" ]; then
        pip_install --index-url "$TORCH_INDEX" -r "$requirements"
        return
    fi
    if [ "$(uname -s)" = Linux ] && ! [ -e /proc/driver/nvidia/version ] && ! command -v nvidia-smi >/dev/null; then
        sed -E 's/^(torch==[0-9.]+)/\1+cpu/' "$requirements" >"$cpu"
        if pip_install -r "$cpu" 2>/dev/null; then
            return
        fi
        say "no NVIDIA driver is here, and pip may now take torch's CUDA build (several GB). To take the CPU build, stop and add"
        say "TORCH_INDEX=<address>, the address of PyTorch's CPU wheel index, which its 'Get Started' page gives."
    fi
    pip_install -r "$requirements"
}

# The package itself, with the compiled operator where it can be built.
build() {
    if [ "$purpose" = lint ]; then return; fi
    if [ "${CENTERNET_DCN:-}" = reference ]; then unset CENTERNET_DCN; fi # that is about running
    say "installing this package and compiling its operator"
    pip_install --no-deps --no-build-isolation --no-index -e .
    "$venv/bin/python" - >&2 <<'PYTHON'
from centernet.dcn import compiled

print('venv: deformable convolution: ' + (compiled.description() or 'in plain torch, because ' + str(compiled.MISSING)))
PYTHON
}

install() {
    if [ ${#patches[@]} != 0 ] && ! command -v patch >/dev/null; then
        fail "the pinned stack's torch is patched, and the program 'patch' is missing; install it (Debian, Ubuntu and Fedora: the package 'patch')"
    fi
    say "making $venv for Python $version"
    rm -rf "$venv"
    "$python" -m venv "$venv" >&2 ||
        fail "$python -m venv failed; where Python comes without it, install its venv package (python3-venv)"
    case $purpose-$stack in
        lint-*)
            pip_install --require-hashes -r requirements/lint.txt
            return
            ;;
        stack-pinned)
            pip_install --require-hashes -r requirements/pinned-bootstrap.txt
            say "installing the pinned stack: torch 1.0.0 alone is a download of 600 MB"
            pip_install --require-hashes --no-deps -r requirements/pinned.txt -r requirements/pinned-test.txt
            patches/torch-1.0.0/apply.sh "$venv/bin/python" >&2
            say "compiling pycocotools"
            pip_install --require-hashes --no-deps --no-build-isolation -r requirements/pinned-source.txt
            ;;
        stack-modern | oracle-modern)
            say "installing the modern stack"
            pip_install --require-hashes --only-binary :all: -r requirements/modern.txt -r requirements/modern-test.txt
            if [ "$purpose" = oracle ]; then
                say "installing torch with torchvision: several GB where it is the CUDA build"
                pip_install -r requirements/oracle-torch.txt
            else
                say "installing torch"
                install_torch requirements/modern-torch.txt
            fi
            ;;
    esac
    build
    "$venv/bin/python" -m pip check --disable-pip-version-check >"$log" 2>&1 || {
        cat "$log" >&2
        return 1
    }
}

set +e # an 'if' would switch it off inside
(
    set -e
    if is_whole; then build; else install; fi
)
status=$?
set -e
[ $status = 0 ] || fail "$venv could not be completed, for the reason above; the next call starts afresh"
echo "$checksum" >"$venv/made-from"
echo "$built" >"$venv/built-from"
say "ready: $venv"
echo "$venv"
