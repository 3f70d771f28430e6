#!/bin/bash
# Resolve requirements/*.in into the hashed locks beside them. Versions in a lock are kept while they fit; --upgrade takes
# the newest.
#
#   tools/lock.sh <python> [--upgrade]
set -euo pipefail
cd "$(dirname "$0")/../requirements"

python=${1:?usage: tools/lock.sh <python> [--upgrade]}
shift
UV_VERSION=0.13.9
MODERN=(--universal --python-version 3.9)
PINNED=(--python-version 3.6.15 --python-platform x86_64-manylinux_2_28)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$python" -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check "uv==$UV_VERSION"

# compile <name> <option>...: resolve <name>.in into $work/<name>.txt, starting from the current lock
compile() {
    local name=$1
    shift
    echo "resolving $name.in" >&2
    if [ -f "$name.txt" ]; then
        cat "$name.txt" >"$work/$name.txt"
    fi
    "$work/venv/bin/uv" pip compile --quiet --no-config --no-header --no-annotate --generate-hashes \
        --output-file "$work/$name.txt" "$@" "$name.in"
}

# publish <name> <source> <keep|drop> <pattern>: write <name>.txt from $work/<source>.txt, keeping or dropping the packages
# whose name matches
publish() {
    {
        echo "# Made by 'make lock' from $2.in; do not edit."
        awk -v how="$3" -v pattern="^($4)==" '
            /^#/ { next }
            /^[^ ]/ { taken = ($0 ~ pattern) == (how == "keep") }
            taken' "$work/$2.txt"
    } >"$work/published"
    if grep -inE '://|index-url|find-links' "$work/published"; then
        echo "lock.sh: error: the lines above name a package index of this machine; $1.txt is unchanged" >&2
        exit 1
    fi
    cat "$work/published" >"$1.txt"
}

compile pinned-bootstrap "${PINNED[@]}" --no-deps "$@"
publish pinned-bootstrap pinned-bootstrap drop nothing
compile pinned "${PINNED[@]}" "$@"
publish pinned-source pinned keep pycocotools
publish pinned pinned drop pycocotools
compile pinned-test "${PINNED[@]}" --constraint "$work/pinned.txt" "$@"
publish pinned-test pinned-test drop nothing

# torch and its CUDA libraries are not locked by hash; modern-torch.txt says why.
compile modern "${MODERN[@]}" "$@"
publish modern modern drop 'torch|triton|nvidia-[^=]*|cuda-[^=]*'
compile modern-test "${MODERN[@]}" --constraint "$work/modern.txt" "$@"
publish modern-test modern-test drop nothing
compile cuda "${MODERN[@]}" "$@"
publish cuda cuda drop nothing
compile lint "${MODERN[@]}" "$@"
publish lint lint drop nothing
# playwright needs 3.10
compile browser --universal --python-version 3.10 "$@"
publish browser browser drop nothing
compile kubernetes "${MODERN[@]}" --constraint "$work/modern.txt" --constraint "$work/modern-test.txt" "$@"
publish kubernetes kubernetes drop nothing
compile tidecv "${MODERN[@]}" --no-deps "$@"
publish tidecv tidecv drop nothing
