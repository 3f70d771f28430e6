#!/bin/bash
# Start a Docker engine on a machine that has none. Requires Debian and root.
#
#   tests/container/standin/engine.sh start <folder>     start it with all its files in <folder>; print the variables to export
#   tests/container/standin/engine.sh stop <folder>      stop it and remove <folder>
#
# dockerd is Debian's docker.io. The compose and buildx plugins are those of Debian trixie, reached through this machine's apt
# sources; they are unpacked into <folder>, not installed.
#
# Exit status: 0 success; 1 failure; 2 usage; 3 this machine cannot run an engine: not root, no apt-get, or the kernel refuses.
set -euo pipefail
# shellcheck source=tests/container/standin/apt.sh
. "$(dirname "$0")/apt.sh"

action=${1:-} folder=${2:-}
if [[ ! $action =~ ^(start|stop)$ ]] || [ -z "$folder" ]; then
    echo "usage: tests/container/standin/engine.sh start|stop <folder>" >&2
    exit 2
fi
PLUGINS_FROM=trixie
# what dockerd says when the kernel denies it mounts, cgroups or netfilter
REFUSED='operation not permitted|permission denied|not supported|function not implemented|cgroup.*mounted'

say() { echo "engine: $*" >&2; }
# fail <exit status> <message>
fail() {
    say "error: $2"
    exit "$1"
}

fetch_plugins() {
    local plugins=$folder/config/cli-plugins
    mkdir -p "$plugins"
    apt_unpack "$PLUGINS_FROM" "$folder/unpacked" docker-compose docker-buildx
    find "$folder/unpacked" -path '*cli-plugins/docker-*' -type f -exec cp {} "$plugins" \;
    rm -rf "$folder/unpacked"
    [ -x "$plugins/docker-compose" ] && [ -x "$plugins/docker-buildx" ] || fail 1 "trixie's packages have no compose or buildx plugin"
}

start_dockerd() {
    # a session of its own, so that Ctrl-C in a test run does not reach it: stop shuts it down in order
    setsid dockerd --host "$DOCKER_HOST" --data-root "$folder/data" --exec-root "$folder/exec" \
        --pidfile "$folder/docker.pid" >"$folder/dockerd.log" 2>&1 &
    for _ in $(seq 60); do
        if docker version >/dev/null 2>&1; then return; fi
        kill -0 $! 2>/dev/null || break
        sleep 1
    done
    tail -n 20 "$folder/dockerd.log" >&2
    if ! kill -0 $! 2>/dev/null && tail -n 3 "$folder/dockerd.log" | grep -iE "$REFUSED" >/dev/null; then
        fail 3 "the kernel does not let dockerd start; see its log above"
    fi
    fail 1 "dockerd did not start; see its log above"
}

start() {
    [ "$(id -u)" = 0 ] || fail 3 "dockerd can only be started by root"
    if ! command -v dockerd >/dev/null; then
        command -v apt-get >/dev/null || fail 3 "dockerd is missing, and without apt-get docker.io cannot be installed"
        say "installing docker.io"
        apt_install docker.io iptables || fail 1 "docker.io cannot be installed; see above"
    fi
    mkdir -p "$folder"
    folder=$(cd "$folder" && pwd)
    export DOCKER_HOST=unix://$folder/docker.sock
    start_dockerd
    say "$(docker version --format 'Docker {{.Server.Version}}') with its data in $folder"
    say "fetching the compose and buildx plugins from $PLUGINS_FROM"
    fetch_plugins
    printf 'export DOCKER_HOST=%q DOCKER_CONFIG=%q\n' "$DOCKER_HOST" "$folder/config"
}

stop() {
    local pid
    pid=$(cat "$folder/docker.pid" 2>/dev/null || true)
    if [ -n "$pid" ] && kill "$pid" 2>/dev/null; then
        for _ in $(seq 60); do
            kill -0 "$pid" 2>/dev/null || break
            sleep 0.5
        done
        if kill -0 "$pid" 2>/dev/null; then fail 1 "dockerd ($pid) does not stop"; fi
        say "stopped dockerd ($pid)"
    fi
    rm -rf "$folder"
}

"$action"
