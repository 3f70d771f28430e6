# To be sourced: install Debian packages.
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
