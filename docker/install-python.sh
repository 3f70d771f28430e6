#!/bin/bash
# Install the locked Python packages. Runs in a build stage.
#
#   install-python.sh stack <venv>      the packages of STACK, in a new virtual environment
#   install-python.sh tests <folder>    the test tools, in a folder for PYTHONPATH
#
# CUDA selects the build of torch. pinned: the lock's for none, PyTorch's cu100 wheel for 10.0. modern: the CPU build for none,
# the index's for 13.0. TORCH_WHEEL (a URL, or the name of a file in docker/wheels) overrides it. The sha256 of torch's wheel is
# printed, and must equal TORCH_SHA256 if that is set. Wheels in docker/wheels are used in place of the index; their hashes must
# be the lock's. /run/secrets/ca and /run/secrets/pip are an optional CA bundle and pip.conf.
set -euo pipefail
cd /src
# shellcheck source=docker/stack.sh
. docker/stack.sh
# shellcheck source=docker/pip.sh
. docker/pip.sh

what=$1 target=$2
WHEELS=/src/docker/wheels
CU100_WHEEL=https://download.pytorch.org/whl/cu100/torch-1.0.0-cp36-cp36m-linux_x86_64.whl
CPU_INDEX=https://download.pytorch.org/whl/cpu
export PIP_FIND_LINKS=$WHEELS

pip_install() { "$python" -m pip install --quiet --no-compile "$@"; }
# from a lock
install() { pip_install --require-hashes --no-deps "$@"; }
download() { "$python" -m pip download --quiet --no-deps --dest "$work" "$@"; }

# install_wheel <file> <where it is from> [option of pip...]
install_wheel() {
    local found
    found=$(sha256sum "$1" | cut -d' ' -f1)
    echo "torch: $2 has the sha256 $found"
    if [ -n "${TORCH_SHA256:-}" ] && [ "$found" != "$TORCH_SHA256" ]; then
        echo "error: TORCH_SHA256 is $TORCH_SHA256, so this is a different file" >&2
        exit 2
    fi
    pip_install "${@:3}" "$1"
}

# fetch_torch <wheel or requirement>: a URL, the name of a file in docker/wheels, or torch==...; set $file
fetch_torch() {
    if [ -f "$WHEELS/$1" ]; then
        file=$WHEELS/$1
    else
        download "$1" || return
        file=$(echo "$work"/torch-*.whl)
    fi
}

pinned() {
    local wheel=${TORCH_WHEEL:-} lock=requirements/pinned.txt
    case $wheel-$CUDA in
        -10.0) wheel=$CU100_WHEEL ;;
        -none | ?*-*) ;;
        *)
            echo "error: torch 1.0.0 was never published for CUDA $CUDA; set TORCH_WHEEL to your own build, or use CUDA=10.0" >&2
            exit 2
            ;;
    esac
    install -r requirements/pinned-bootstrap.txt
    if [ -n "$wheel" ]; then
        lock=$work/pinned.txt
        awk '/^[^ #]/ { taken = !/^torch==/ } taken' requirements/pinned.txt >"$lock"
        fetch_torch "$wheel"
        install_wheel "$file" "$wheel" --no-deps
    fi
    install -r "$lock"
    install --no-build-isolation -r requirements/pinned-source.txt
}

modern() {
    local torch
    install --only-binary :all: -r requirements/modern.txt
    torch=$(sed -n 's/^\(torch==[0-9.]*\); python_version >= .*/\1/p' requirements/modern-torch.txt)
    if [ -n "${TORCH_WHEEL:-}" ]; then
        fetch_torch "$TORCH_WHEEL"
    elif [ "$CUDA" = none ]; then
        torch=$torch+cpu
        fetch_torch "$torch" 2>/dev/null || PIP_CONFIG_FILE=/dev/null PIP_INDEX_URL=$CPU_INDEX fetch_torch "$torch"
    else
        fetch_torch "${torch/==/===}" # not the +cpu wheel that docker/wheels may have, which == would take
    fi
    # with its CUDA libraries, which it names by exact version
    install_wheel "$file" "${TORCH_WHEEL:-$torch}"
}

# pip records where a wheel came from, so this folder has the same name in every build
work=/tmp/install-python
mkdir "$work"
trap 'rm -rf "$work"' EXIT
case $what in
    stack)
        "$PYTHON" -m venv "$target"
        python=$target/bin/python
        "$STACK"
        "$python" -m pip check
        ;;
    tests)
        python=python
        install --target "$target" -r "requirements/$STACK-test.txt"
        ;;
esac
