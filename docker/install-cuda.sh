#!/bin/bash
# Install the parts of the CUDA toolkit that compiling needs. Runs in a build stage.
#
#   install-cuda.sh 10.0|10.2|none <URL of NVIDIA's apt repository>
set -euo pipefail

version=$1 repository=$2
# the key with which NVIDIA has signed its repositories since April 2022
FINGERPRINT=EB693B3035CD5710E231E123A4B469963BF863CC

case $version in
    none) exit ;;
    10.0) packages=(cuda-minimal-build-10-0=10.0.130-1 cuda-libraries-dev-10-0=10.0.130-1) ;;
    10.2) packages=(cuda-minimal-build-10-2=10.2.89-1 cuda-libraries-dev-10-2=10.2.89-1 libcublas-dev=10.2.2.89-1) ;;
    *) echo "error: CUDA=$version is not supported; use 10.0, 10.2 or none" >&2 && exit 2 ;;
esac
# NVIDIA's own base images include the toolkit
if /usr/local/cuda/bin/nvcc --version 2>/dev/null | grep -q "release $version,"; then exit; fi

# Old images list repositories signed with the revoked key, which make apt-get update fail.
rm -f /etc/apt/sources.list.d/{cuda,nvidia-ml}*.list
here=$(dirname "$0")
"$here/install-packages.sh" ca-certificates curl gnupg
GNUPGHOME=$(mktemp -d)
export GNUPGHOME
trap 'rm -rf "$GNUPGHOME"' EXIT
if [ -s /run/secrets/ca ]; then export CURL_CA_BUNDLE=/run/secrets/ca; fi
curl --fail --silent --show-error --location --retry 3 --output "$GNUPGHOME/key" "$repository/3bf863cc.pub"
found=$(gpg --batch --quiet --with-colons --import-options show-only --import "$GNUPGHOME/key" | awk -F: '$1 == "fpr" { print $10; exit }')
if [ "$found" != "$FINGERPRINT" ]; then
    echo "error: the key of $repository has the fingerprint '$found', expected $FINGERPRINT" >&2
    exit 2
fi
gpg --batch --quiet --dearmor --output /usr/share/keyrings/cuda.gpg "$GNUPGHOME/key"
echo "deb [signed-by=/usr/share/keyrings/cuda.gpg] $repository /" >/etc/apt/sources.list.d/cuda.list
# APT_MIRROR and APT_SNAPSHOT would exclude NVIDIA's repository, so they are not used here
APT_MIRROR='' APT_SNAPSHOT='' "$here/install-packages.sh" "${packages[@]}"
if [ ! -e /usr/local/cuda ]; then ln -s "cuda-$version" /usr/local/cuda; fi
