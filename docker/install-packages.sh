#!/bin/bash
# Install packages of the distribution without leaving caches or logs in the image.
#
#   install-packages.sh <package>...
#
# APT_SNAPSHOT=20230601T000000Z installs the versions of that time, APT_MIRROR=<URL> those of another archive; neither
# changes the image's own sources. /run/secrets/ca is an optional CA bundle.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive
if [ -n "${HTTP_PROXY:-}" ]; then export http_proxy=$HTTP_PROXY; fi # apt-get reads the lower-case variable only

options=()
if [ -s /run/secrets/ca ]; then options+=(-o Acquire::https::CAInfo=/run/secrets/ca); fi
install() {
    apt-get "${options[@]}" -qq update
    apt-get "${options[@]}" -qq install --no-install-recommends "$@"
}

mirror=${APT_MIRROR:-}
if [ -n "${APT_SNAPSHOT:-}" ]; then
    [ -z "$mirror" ] || { echo "error: set either APT_SNAPSHOT or APT_MIRROR, not both" >&2 && exit 2; }
    [[ $APT_SNAPSHOT =~ ^[0-9]{8}T[0-9]{6}Z$ ]] ||
        { echo "error: APT_SNAPSHOT=$APT_SNAPSHOT is not a time such as 20230601T000000Z" >&2 && exit 2; }
    mirror=https://snapshot.ubuntu.com/ubuntu/$APT_SNAPSHOT
    options+=(-o Acquire::Check-Valid-Until=false)
fi
if [ -n "$mirror" ]; then
    if [[ $mirror == https:* ]] && [ ! -s /run/secrets/ca ] && [ ! -e /etc/ssl/certs/ca-certificates.crt ]; then
        install ca-certificates # from the image's own archive; https needs them
    fi
    # shellcheck source=/dev/null
    suite=$(. /etc/os-release && echo "${UBUNTU_CODENAME:-$VERSION_CODENAME}")
    list=$(mktemp)
    for pocket in "$suite" "$suite-updates" "$suite-security"; do
        echo "deb $mirror $pocket main universe" >>"$list"
    done
    options+=(-o Dir::Etc::sourcelist="$list" -o Dir::Etc::sourceparts=-)
fi

install "$@"
rm -rf /var/log/* /var/cache/ldconfig/aux-cache /var/cache/debconf/*-old ${list:+"$list"}
