#!/bin/bash
# Install the locked Python packages. Runs in a build stage.
#
#   install-python.sh stack <venv>      the pinned stack, in a new virtual environment
#   install-python.sh tests <folder>    the test tools, in a folder for PYTHONPATH
#
# CUDA (10.0, 10.2 or none) selects the build of torch: the lock's for none, PyTorch's cu100 wheel for 10.0. TORCH_WHEEL (a
# URL, or the name of a file in docker/wheels) overrides it. The sha256 of such a wheel is printed, and must equal
# TORCH_SHA256 if that is set. Wheels in docker/wheels are used in place of the index; their hashes must be the lock's.
# /run/secrets/ca and /run/secrets/pip are an optional CA bundle and pip.conf.
set -euo pipefail
cd /src

what=$1 target=$2
WHEELS=/src/docker/wheels
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_FIND_LINKS=$WHEELS
CU100_WHEEL=https://download.pytorch.org/whl/cu100/torch-1.0.0-cp36-cp36m-linux_x86_64.whl
if [ -s /run/secrets/ca ]; then export PIP_CERT=/run/secrets/ca; fi
if [ -s /run/secrets/pip ]; then export PIP_CONFIG_FILE=/run/secrets/pip; fi

# install_torch <wheel>: a URL, or the name of a file in docker/wheels
install_torch() {
    local work file found
    work=$(mktemp -d)
    if [ -f "$WHEELS/$1" ]; then
        file=$WHEELS/$1
    else
        "$python" -m pip download --quiet --no-deps --dest "$work" "$1"
        file=$(echo "$work"/*.whl)
    fi
    found=$(sha256sum "$file" | cut -d' ' -f1)
    echo "torch: $1 has the sha256 $found"
    if [ -n "${TORCH_SHA256:-}" ] && [ "$found" != "$TORCH_SHA256" ]; then
        echo "error: TORCH_SHA256 is $TORCH_SHA256, so this is a different file" >&2
        exit 2
    fi
    "$python" -m pip install --quiet --no-compile --no-deps "$file"
    rm -rf "$work"
}

case $what in
    stack)
        wheel=${TORCH_WHEEL:-}
        case $wheel-$CUDA in
            -10.0) wheel=$CU100_WHEEL ;;
            -none | ?*-*) ;;
            *)
                echo "error: torch 1.0.0 was never published for CUDA $CUDA; set TORCH_WHEEL to your own build, or use CUDA=10.0" >&2
                exit 2
                ;;
        esac
        python3.6 -m venv "$target"
        python=$target/bin/python
        install=("$python" -m pip install --quiet --no-compile --require-hashes --no-deps)
        "${install[@]}" -r requirements/pinned-bootstrap.txt
        lock=requirements/pinned.txt
        if [ -n "$wheel" ]; then
            lock=$(mktemp)
            awk '/^[^ #]/ { taken = !/^torch==/ } taken' requirements/pinned.txt >"$lock"
            install_torch "$wheel"
        fi
        "${install[@]}" -r "$lock"
        "${install[@]}" --no-build-isolation -r requirements/pinned-source.txt
        "$python" -m pip check
        ;;
    tests)
        python -m pip install --quiet --no-compile --require-hashes --no-deps --target "$target" -r requirements/pinned-test.txt
        ;;
esac
