# To be sourced: install Debian packages, or unpack those of another release.
# shellcheck shell=bash

# how long to wait for a lock that another program holds, in seconds
APT_LOCK_SECONDS=${APT_LOCK_SECONDS:-300}

# apt_install <package>...: as root, install packages; print what apt-get says only if it fails
apt_install() {
    _apt_get update && _apt_get install --no-install-recommends "$@"
}

# DPkg::Lock::Timeout does not apply to the lock of the package lists, so wait for every lock in the same way.
_apt_get() {
    local output deadline=$((SECONDS + APT_LOCK_SECONDS))
    until output=$(LC_ALL=C DEBIAN_FRONTEND=noninteractive apt-get -qq "$@" 2>&1); do
        if [[ $output != *'Could not get lock'* ]] || [ "$SECONDS" -ge "$deadline" ]; then
            echo "$output" >&2
            return 1
        fi
        sleep 1
    done
}

# apt_unpack <release> <folder> <package>...: unpack packages of another release, with nothing that they depend on, into <folder>;
# this machine's own package lists are left alone
apt_unpack() {
    local release=$1 folder=$2 own apt file status=0
    # shellcheck source=/dev/null
    own=$(. /etc/os-release && echo "$VERSION_CODENAME")
    apt=$(mktemp -d)
    mkdir -p "$folder" "$apt"/{sources.list.d,packages,lists/partial,cache/archives/partial}
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.{list,sources}; do
        if [ -f "$file" ]; then
            sed "s/\\b$own\\b/$release/g" "$file" >"$apt/sources.list.d/$(basename "$file")"
        fi
    done
    local options=(-qq -o Dir::Etc::sourcelist="$apt/sources.list" -o Dir::Etc::sourceparts="$apt/sources.list.d"
        -o Dir::State::lists="$apt/lists" -o Dir::Cache="$apt/cache" -o Dir::State::status=/dev/null -o APT::Sandbox::User=root)
    {
        apt-get "${options[@]}" update && (cd "$apt/packages" && apt-get "${options[@]}" download "${@:3}") &&
            for file in "$apt"/packages/*.deb; do dpkg-deb -x "$file" "$folder" || status=1; done
    } >&2 || status=1
    rm -rf "$apt"
    return "$status"
}
