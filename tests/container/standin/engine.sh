#!/bin/bash
# A Docker engine of its own, for a machine on which none runs. It needs Debian and root.
#
#   tests/container/standin/engine.sh start <folder>     start it with everything it keeps in <folder>; print the variables to export
#   tests/container/standin/engine.sh stop <folder>      stop it and remove <folder>
#
# dockerd is Debian's docker.io. The compose plugin and buildx come from Debian's trixie, reached through this machine's own apt
# sources; they are unpacked into <folder>, not installed.
set -euo pipefail

action=${1:-} folder=${2:-}
if [[ ! $action =~ ^(start|stop)$ ]] || [ -z "$folder" ]; then
    echo "usage: tests/container/standin/engine.sh start|stop <folder>" >&2
    exit 2
fi
PLUGINS_FROM=trixie

say() { echo "engine: $*" >&2; }
fail() {
    say "error: $*"
    exit 2
}

# trixie's packages, without touching what apt knows of this machine
apt_of_trixie() {
    local from=$folder/apt
    mkdir -p "$from/lists/partial" "$from/cache/archives/partial"
    "$@" -o Dir::Etc::sourcelist="$from/sources.list" -o Dir::Etc::sourceparts="$from/sources.list.d" \
        -o Dir::State::lists="$from/lists" -o Dir::Cache="$from/cache" -o Dir::State::status=/dev/null -o APT::Sandbox::User=root
}

fetch_plugins() {
    local suite package plugins=$folder/config/cli-plugins
    # shellcheck source=/dev/null
    suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
    mkdir -p "$folder/apt/sources.list.d" "$folder/unpacked" "$plugins"
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.{list,sources}; do
        if [ -f "$file" ]; then
            sed "s/\\b$suite\\b/$PLUGINS_FROM/g" "$file" >"$folder/apt/sources.list.d/$(basename "$file")"
        fi
    done
    apt_of_trixie apt-get -qq update
    for package in docker-compose docker-buildx; do
        (cd "$folder/unpacked" && apt_of_trixie apt-get -qq download "$package")
    done
    for file in "$folder"/unpacked/*.deb; do
        dpkg-deb -x "$file" "$folder/unpacked"
    done
    find "$folder/unpacked" -path '*cli-plugins/docker-*' -type f -exec cp {} "$plugins" \;
    rm -rf "$folder/apt" "$folder/unpacked"
    [ -x "$plugins/docker-compose" ] && [ -x "$plugins/docker-buildx" ] || fail "trixie's packages hold no compose or buildx plugin"
}

start() {
    [ "$(id -u)" = 0 ] || fail "dockerd has to be started as root"
    if ! command -v dockerd >/dev/null; then
        command -v apt-get >/dev/null || fail "dockerd is missing, and there is no apt-get to install docker.io with"
        say "installing docker.io"
        apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends docker.io iptables >&2
    fi
    mkdir -p "$folder"
    folder=$(cd "$folder" && pwd)
    say "fetching the compose plugin and buildx from $PLUGINS_FROM"
    fetch_plugins >&2
    # its own session, so that a Ctrl-C that ends a test run leaves it to be stopped in order
    setsid dockerd --host "unix://$folder/docker.sock" --data-root "$folder/data" --exec-root "$folder/exec" \
        --pidfile "$folder/docker.pid" >"$folder/dockerd.log" 2>&1 &
    export DOCKER_HOST=unix://$folder/docker.sock
    for _ in $(seq 60); do
        if docker version >/dev/null 2>&1; then
            say "$(docker version --format 'Docker {{.Server.Version}}') with its data in $folder"
            printf 'export DOCKER_HOST=%q DOCKER_CONFIG=%q\n' "$DOCKER_HOST" "$folder/config"
            return
        fi
        kill -0 $! 2>/dev/null || break
        sleep 1
    done
    tail -n 20 "$folder/dockerd.log" >&2
    fail "dockerd did not come up; its log is above"
}

stop() {
    local pid
    pid=$(cat "$folder/docker.pid" 2>/dev/null || true)
    if [ -n "$pid" ] && kill "$pid" 2>/dev/null; then
        for _ in $(seq 60); do
            kill -0 "$pid" 2>/dev/null || break
            sleep 0.5
        done
        if kill -0 "$pid" 2>/dev/null; then fail "dockerd ($pid) does not end"; fi
        say "stopped dockerd ($pid)"
    fi
    rm -rf "$folder"
}

"$action"
