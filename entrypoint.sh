#!/bin/bash
# The image's entry point: run a command of centernet, the tests, or any other command.
#
#   entrypoint.sh eval-pth|export|eval-onnx|merge|verify|detect|report|dump-inputs|eval-outputs|run-ais|run-trt [flag...]
#   entrypoint.sh modify|fetch|reproduce|sample|doctor [flag...]
#   entrypoint.sh test [flag of pytest...]
#   entrypoint.sh scheduler [flag of dask scheduler...]           of a cluster for eval-pth --dask; with ./certificates, port 8786
#   entrypoint.sh worker tls://HOST:8786 [flag of dask worker...]
#   entrypoint.sh <command> [argument...]
#
# As root it first becomes the owner of ./output, so that new files belong to the owner of that folder on the host. It
# replaces itself with the command, which therefore receives signals directly.
set -euo pipefail

TESTS=/opt/tests/checkout

# the owner of the output folder, "uid gid"
owner=$(stat --format '%u %g' output 2>/dev/null || echo '0 0')

# fail <exit status> <message>
fail() {
    echo "container: error: $2" >&2
    exit "$1"
}

# run <command> [argument...]: replace this shell with the command, as the owner of the output folder if this is root
run() {
    local uid=${owner% *} gid=${owner#* } program
    program=$(type -P "$1") || fail 127 "$1: command not found"
    if [ "$(id -u)" != 0 ] || [ "$uid" = 0 ]; then exec "$program" "${@:2}"; fi
    exec python -I -c '
import os, sys
uid, gid = map(int, sys.argv[1:3])
try:
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
except PermissionError:
    sys.exit("container: error: cannot switch to uid {0}, the owner of the output folder; grant the container the capabilities "
             "SETUID and SETGID, or start it with --user {0}:{1}".format(uid, gid))
os.execv(sys.argv[3], sys.argv[3:])' "$uid" "$gid" "$program" "${@:2}"
}

if [ $# = 0 ]; then set -- eval-pth; fi
case $1 in
    eval-pth | export | eval-onnx | merge | verify | detect | report | dump-inputs | eval-outputs | run-ais | run-trt | \
        modify | fetch | reproduce | sample | doctor)
        run centernet "$@"
        ;;
    test)
        shift
        cd "$TESTS" 2>/dev/null || fail 2 "this image has no tests; build the target 'test' (docker compose run --rm test does)"
        export PYTHONPATH=/opt/tests/tools HYPOTHESIS_STORAGE_DIRECTORY=/tmp/hypothesis
        run python -m pytest -p no:cacheprovider "$@"
        ;;
    scheduler | worker)
        type -P dask >/dev/null || fail 2 "a cluster needs the modern stack: set STACK=modern"
        [ -e certificates/node.key ] || fail 2 "no certificates/node.key; deploy/dask/certificates.sh makes certificates"
        # --no-dashboard alone leaves a server without TLS that tells about the cluster
        options=(--tls-ca-file certificates/ca.pem --tls-cert certificates/node.pem --tls-key certificates/node.key
            --protocol tls --no-dashboard --dashboard-address 127.0.0.1:0)
        # one run at a time uses all of a worker, and the container limits its memory
        if [ "$1" = worker ]; then options+=(--nworkers 1 --nthreads 1 --memory-limit 0 --local-directory /tmp/dask); fi
        # daemons could not have processes that load images
        export DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION=true DASK_DISTRIBUTED__WORKER__DAEMON=false
        run dask "$1" "${options[@]}" "${@:2}"
        ;;
    *)
        run "$@"
        ;;
esac
