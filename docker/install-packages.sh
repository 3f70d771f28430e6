#!/bin/bash
# Install packages of the distribution, Ubuntu or Debian, without leaving caches or logs in the image.
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

# shellcheck source=/dev/null
. /etc/os-release
suite=$VERSION_CODENAME
archive=${APT_MIRROR:-} security=
if [ -n "${APT_SNAPSHOT:-}" ]; then
    [ -z "$archive" ] || { echo "error: set either APT_SNAPSHOT or APT_MIRROR, not both" >&2 && exit 2; }
    [[ $APT_SNAPSHOT =~ ^[0-9]{8}T[0-9]{6}Z$ ]] ||
        { echo "error: APT_SNAPSHOT=$APT_SNAPSHOT is not a time such as 20230601T000000Z" >&2 && exit 2; }
    case $ID in
        debian)
            archive=https://snapshot.debian.org/archive/debian/$APT_SNAPSHOT
            security=https://snapshot.debian.org/archive/debian-security/$APT_SNAPSHOT
            ;;
        *) archive=https://snapshot.ubuntu.com/ubuntu/$APT_SNAPSHOT ;;
    esac
    options+=(-o Acquire::Check-Valid-Until=false)
fi
if [ -n "$archive" ]; then
    if [[ $archive == https:* ]] && [ ! -s /run/secrets/ca ] && [ ! -e /etc/ssl/certs/ca-certificates.crt ]; then
        install ca-certificates # from the image's own archive; https needs them
    fi
    list=$(mktemp)
    if [ "$ID" = debian ]; then # whose security updates are an archive of their own, beside the other
        printf 'deb %s main\n' "$archive $suite" "$archive $suite-updates" "${security:-${archive%/}-security} $suite-security" >"$list"
    else
        printf 'deb %s main universe\n' "$archive "{"$suite","$suite-updates","$suite-security"} >"$list"
    fi
    options+=(-o Dir::Etc::sourcelist="$list" -o Dir::Etc::sourceparts=-)
fi

install "$@"
rm -rf /var/log/* /var/cache/ldconfig/aux-cache /var/cache/debconf/*-old ${list:+"$list"}
