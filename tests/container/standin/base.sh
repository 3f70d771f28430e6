#!/bin/bash
# Make a substitute for a base image where no image registry can be reached. Requires Debian or Ubuntu, root, and a Docker engine.
#
#   tests/container/standin/base.sh <tag> pinned [python3.6]     for ubuntu:18.04; requires a Python 3.6
#   tests/container/standin/base.sh <tag> modern                 for debian:bookworm-slim
#
# The system is that of this machine, from its distribution's archive. The Python 3.6 is packed under the names of Ubuntu
# 18.04's packages. README.md in this folder says what an image built on it proves.
set -euo pipefail
# shellcheck source=tests/container/standin/apt.sh
. "$(dirname "$0")/apt.sh"

tag=${1:?usage: tests/container/standin/base.sh <tag> pinned|modern [python3.6]}
stack=${2:?usage: tests/container/standin/base.sh <tag> pinned|modern [python3.6]}
python=${3:-python3.6}

say() { echo "base: $*" >&2; }
fail() {
    say "error: $*"
    exit 2
}

[ "$(id -u)" = 0 ] || fail "debootstrap can only be run by root"
[ "$stack" = modern ] || [ "$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" = 3.6 ] ||
    fail "$python is not a Python 3.6"
# shellcheck source=/dev/null
suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
architecture=$(dpkg --print-architecture)
# shellcheck disable=SC2016  # apt's own variables
mirror=$(apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(SITE)' 'Created-By: Packages' |
    awk -v suite="$suite" '$1 == suite && $2 == "main" { print $3; exit }')
[ -n "$mirror" ] || fail "this machine's apt sources have no archive of $suite"
if ! command -v debootstrap >/dev/null; then
    say "installing debootstrap"
    apt_install debootstrap || fail "debootstrap cannot be installed; see above"
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root

# Ubuntu splits Python into packages. Split this one in the same way, so that a missing package is noticed.
# owners <file>...: the Debian packages with the libraries that the files need, as a Depends line
owners() {
    ldd "$@" 2>/dev/null | awk '$2 == "=>" && $3 ~ "^/" { print $3 }' | sort -u | grep -v "^$prefix/" | while read -r library; do
        dpkg-query -S "$library" 2>/dev/null || dpkg-query -S "$(readlink -f "$library")" 2>/dev/null ||
            dpkg-query -S "${library#/usr}" 2>/dev/null || true
    done | cut -d: -f1 | sort -u | paste -sd, | sed 's/,/, /g'
}

# package <name> <version> <depends>: pack $parts/<name>
package() {
    mkdir -p "$parts/$1/DEBIAN"
    cat >"$parts/$1/DEBIAN/control" <<CONTROL
Package: $1
Version: $2
Architecture: $architecture
Maintainer: tests/container/standin/base.sh
Depends: $3
Description: Python $version of the machine that made this image
CONTROL
    dpkg-deb --root-owner-group -Zgzip --build "$parts/$1" "$packages/$1.deb" >/dev/null
}

pack_python() {
    prefix=$("$python" -c 'import sys; print(sys.base_prefix)')
    version=$("$python" -c 'import platform; print(platform.python_version())')
    triplet=$(dpkg-architecture -qDEB_HOST_MULTIARCH 2>/dev/null || gcc -dumpmachine)
    parts=$work/parts packages=$root/opt/python3.6
    say "packing Python $version of $prefix"
    local python_files=$parts/python3.6/usr lib
    mkdir -p "$python_files/bin" "$python_files/lib/$triplet" "$packages"
    cp -a "$prefix/lib/python3.6" "$python_files/lib/"
    find "$python_files/lib" -depth -name __pycache__ -exec rm -rf {} +
    lib=$python_files/lib/python3.6
    rm -rf "$lib/test" "$lib/site-packages" "$lib"/{idlelib,tkinter,turtledemo} "$lib"/*/test "$lib"/*/tests
    mkdir "$lib/dist-packages"
    sed -i "s#$prefix#/usr#g" "$lib"/_sysconfigdata_*.py
    cp "$prefix/bin/python3.6" "$python_files/bin/python3.6"
    ln -s python3.6 "$python_files/bin/python3.6m"
    if [ -e "$prefix/lib/libpython3.6m.so.1.0" ]; then cp "$prefix/lib/libpython3.6m.so.1.0" "$python_files/lib/$triplet/"; fi

    mkdir -p "$parts"/python3.6-venv/usr/lib/python3.6 "$parts"/python3-distutils/usr/lib/python3.6/distutils \
        "$parts"/python3.6-dev/usr/{include,lib/python3.6,"lib/$triplet"}
    mv "$lib/ensurepip" "$parts/python3.6-venv/usr/lib/python3.6/"
    mv "$lib/lib2to3" "$parts/python3-distutils/usr/lib/python3.6/"
    for file in "$lib"/distutils/*; do
        case ${file##*/} in
            __init__.py | version.py) ;;
            *) mv "$file" "$parts/python3-distutils/usr/lib/python3.6/distutils/" ;;
        esac
    done
    mv "$lib"/config-* "$parts/python3.6-dev/usr/lib/python3.6/"
    mkdir "$lib/$(basename "$parts"/python3.6-dev/usr/lib/python3.6/config-*)"
    cp "$parts"/python3.6-dev/usr/lib/python3.6/config-*/Makefile "$lib"/config-*/ # which sysconfig reads
    rm "$parts"/python3.6-dev/usr/lib/python3.6/config-*/Makefile
    cp -a "$prefix/include/python3.6m" "$parts/python3.6-dev/usr/include/"
    ln -s libpython3.6m.so.1.0 "$parts/python3.6-dev/usr/lib/$triplet/libpython3.6m.so"

    package python3.6 "$version-standin" "$(owners "$prefix/bin/python3.6" "$lib"/lib-dynload/*.so)"
    package python3.6-venv "$version-standin" "python3.6 (= $version-standin)"
    package python3.6-dev "$version-standin" "python3.6 (= $version-standin), libc6-dev"
    package python3-distutils "1:$version-standin" "python3.6 (= $version-standin)" # the epoch exceeds that of the distribution's package
    (cd "$packages" && for file in *.deb; do
        dpkg-deb --field "$file"
        printf 'Filename: ./%s\nSize: %s\nSHA256: %s\n\n' "$file" "$(stat -c %s "$file")" "$(sha256sum "$file" | cut -d' ' -f1)"
    done >Packages)
    echo "deb [trusted=yes] file:/opt/python3.6 ./" >"$root/etc/apt/sources.list.d/python3.6.list"
}

say "bootstrapping $suite"
debootstrap --variant=minbase "$suite" "$root" "$mirror" >"$work/debootstrap.log" 2>&1 || {
    tail -n 20 "$work/debootstrap.log" >&2
    fail "debootstrap failed; see above"
}
if [ "$stack" = pinned ]; then pack_python; fi
if [ -f /etc/ssl/certs/ca-certificates.crt ]; then
    mkdir -p "$root/etc/ssl/certs"
    cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
fi
rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* "$root"/var/log/* "$root"/usr/share/{doc,man,info,locale}/*

say "importing it as $tag"
tar --numeric-owner -C "$root" -c . | docker import --change 'CMD ["/bin/bash"]' - "$tag"
