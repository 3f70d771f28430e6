#!/bin/bash
# In the image: install packages of the distribution, and leave nothing else behind.
#
#   install-packages.sh <package>...
#
# APT_SNAPSHOT=20230601T000000Z takes them as they were at that time, APT_MIRROR=<address> from another archive; both leave the
# image's own list of archives as it is. A CA bundle, where one is given, lies in /run/secrets/ca.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive
if [ -n "${HTTP_PROXY:-}" ]; then export http_proxy=$HTTP_PROXY; fi # apt-get knows only the small one

options=()
if [ -s /run/secrets/ca ]; then options+=(-o Acquire::https::CAInfo=/run/secrets/ca); fi
install() {
    apt-get "${options[@]}" -qq update
    apt-get "${options[@]}" -qq install --no-install-recommends "$@"
}

mirror=${APT_MIRROR:-}
if [ -n "${APT_SNAPSHOT:-}" ]; then
    [ -z "$mirror" ] || { echo "error: APT_SNAPSHOT and APT_MIRROR contradict each other" >&2 && exit 2; }
    [[ $APT_SNAPSHOT =~ ^[0-9]{8}T[0-9]{6}Z$ ]] ||
        { echo "error: APT_SNAPSHOT=$APT_SNAPSHOT is no time such as 20230601T000000Z" >&2 && exit 2; }
    mirror=https://snapshot.ubuntu.com/ubuntu/$APT_SNAPSHOT
    options+=(-o Acquire::Check-Valid-Until=false)
fi
if [ -n "$mirror" ]; then
    if [[ $mirror == https:* ]] && [ ! -s /run/secrets/ca ] && [ ! -e /etc/ssl/certs/ca-certificates.crt ]; then
        install ca-certificates # from the image's own archive, to be able to read this one
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
