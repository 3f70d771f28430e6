#!/bin/bash
# Install the parts of the CUDA toolkit that compiling needs, as /usr/local/cuda. Runs in a build stage.
#
#   install-cuda.sh pinned 10.0|10.2|none      from NVIDIA's apt repository, CUDA_REPOSITORY
#   install-cuda.sh modern 13.0|none           from Python packages, requirements/cuda.txt
set -euo pipefail

stack=$1 version=$2
here=$(dirname "$0")
# the key with which NVIDIA has signed its repositories since April 2022
FINGERPRINT=EB693B3035CD5710E231E123A4B469963BF863CC

case $stack-$version in
    *-none) exit ;;
    pinned-10.0) packages=(cuda-minimal-build-10-0=10.0.130-1 cuda-libraries-dev-10-0=10.0.130-1) ;;
    pinned-10.2) packages=(cuda-minimal-build-10-2=10.2.89-1 cuda-libraries-dev-10-2=10.2.89-1 libcublas-dev=10.2.2.89-1) ;;
    modern-13.0) ;;
    pinned-*) echo "error: CUDA=$version is not supported by the pinned stack; use 10.0, 10.2 or none" >&2 && exit 2 ;;
    *) echo "error: CUDA=$version is not supported by the modern stack; use 13.0 or none" >&2 && exit 2 ;;
esac
# NVIDIA's own base images include the toolkit
if /usr/local/cuda/bin/nvcc --version 2>/dev/null | grep -q "release $version,"; then exit; fi

install_python_packages() {
    # shellcheck source=docker/pip.sh
    . "$here/pip.sh"
    # shellcheck source=docker/stack.sh
    STACK=$stack . "$here/stack.sh"
    "$PYTHON" -m venv /tmp/venv
    /tmp/venv/bin/python -m pip install --quiet --no-compile --require-hashes --no-deps --target /opt/cuda -r /requirements/cuda.txt
    rm -rf /tmp/venv
    ln -s /opt/cuda/nvidia/cu13 /usr/local/cuda
}

install_apt_packages() {
    # Old images list repositories signed with the revoked key, which make apt-get update fail.
    rm -f /etc/apt/sources.list.d/{cuda,nvidia-ml}*.list
    "$here/install-packages.sh" ca-certificates curl gnupg
    GNUPGHOME=$(mktemp -d)
    export GNUPGHOME
    trap 'rm -rf "$GNUPGHOME"' EXIT
    if [ -s /run/secrets/ca ]; then export CURL_CA_BUNDLE=/run/secrets/ca; fi
    local found
    curl --fail --silent --show-error --location --retry 3 --output "$GNUPGHOME/key" "$CUDA_REPOSITORY/3bf863cc.pub"
    found=$(gpg --batch --quiet --with-colons --import-options show-only --import "$GNUPGHOME/key" | awk -F: '$1 == "fpr" { print $10; exit }')
    if [ "$found" != "$FINGERPRINT" ]; then
        echo "error: the key of $CUDA_REPOSITORY has the fingerprint '$found', expected $FINGERPRINT" >&2
        exit 2
    fi
    gpg --batch --quiet --dearmor --output /usr/share/keyrings/cuda.gpg "$GNUPGHOME/key"
    echo "deb [signed-by=/usr/share/keyrings/cuda.gpg] $CUDA_REPOSITORY /" >/etc/apt/sources.list.d/cuda.list
    # APT_MIRROR and APT_SNAPSHOT would exclude NVIDIA's repository, so they are not used here
    APT_MIRROR='' APT_SNAPSHOT='' "$here/install-packages.sh" "${packages[@]}"
    if [ ! -e /usr/local/cuda ]; then ln -s "cuda-$version" /usr/local/cuda; fi
}

if [ "$stack" = modern ]; then install_python_packages; else install_apt_packages; fi
