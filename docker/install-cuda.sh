#!/bin/bash
# In the image's build stage: install the CUDA toolkit, as far as compiling needs it.
#
#   install-cuda.sh 10.0|10.2|none <NVIDIA's apt repository>
set -euo pipefail

version=$1 repository=$2
# the key that NVIDIA signs its repositories with since April 2022
FINGERPRINT=EB693B3035CD5710E231E123A4B469963BF863CC

case $version in
    none) exit ;;
    10.0) packages=(cuda-minimal-build-10-0=10.0.130-1 cuda-libraries-dev-10-0=10.0.130-1) ;;
    10.2) packages=(cuda-minimal-build-10-2=10.2.89-1 cuda-libraries-dev-10-2=10.2.89-1 libcublas-dev=10.2.2.89-1) ;;
    *) echo "error: CUDA=$version; it is 10.0, 10.2 or none" >&2 && exit 2 ;;
esac
# a base image of NVIDIA's has the toolkit already
if /usr/local/cuda/bin/nvcc --version 2>/dev/null | grep -q "release $version,"; then exit; fi

# The lists of old images name a key that is no longer valid, and apt-get update would stop at them.
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
    echo "error: the key at $repository has the fingerprint '$found', not $FINGERPRINT" >&2
    exit 2
fi
gpg --batch --quiet --dearmor --output /usr/share/keyrings/cuda.gpg "$GNUPGHOME/key"
echo "deb [signed-by=/usr/share/keyrings/cuda.gpg] $repository /" >/etc/apt/sources.list.d/cuda.list
# the toolkit's own repository has to be read too, so no mirror of the distribution's
APT_MIRROR='' APT_SNAPSHOT='' "$here/install-packages.sh" "${packages[@]}"
if [ ! -e /usr/local/cuda ]; then ln -s "cuda-$version" /usr/local/cuda; fi
