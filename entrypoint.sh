#!/bin/bash
# The image's entry point: a service by its name, or any other command as it is given.
#
#   entrypoint.sh eval-pth|export|eval-onnx|verify|fetch|reproduce|doctor|test [flag...]
#   entrypoint.sh <command> [argument...]
#
# Run as root it becomes the owner of ./output first, so that what is written belongs to whoever owns that folder. WEIGHTS, DATA and
# DEVICE stand for the flags --weights, --data and (of eval-pth and reproduce) --device; a flag that is given wins. What it says goes to standard error.
set -euo pipefail

OUTPUT=output
DRIVER=/proc/driver/nvidia/version
# CUDA 10 has no code for GPUs of this generation or newer
FIRST_REFUSED_CAPABILITY=8
# what a loader process may need at once is some 100 MB; Docker gives 64 MB unless told otherwise
LEAST_SHM_KIB=262144

service=${1:-eval-pth}
case $service in
    eval-pth | export | eval-onnx | verify | fetch | reproduce | doctor | test) shift || true ;;
    *) service= ;;
esac

say() { echo "${service:-container}: $*" >&2; }
fail() {
    say "error: $*"
    exit 2
}

become_owner() {
    local uid gid
    read -r uid gid < <(stat -c '%u %g' "$OUTPUT" 2>/dev/null || echo 0 0)
    if [ "$uid" = 0 ]; then return; fi
    exec python -I -c '
import os, sys
try:
    os.setgroups([])
    os.setgid(int(sys.argv[2]))
    os.setuid(int(sys.argv[1]))
except PermissionError:
    sys.exit("container: error: cannot become uid {}, the owner of the output folder: give the container the capabilities SETUID and "
             "SETGID, or start it as that user".format(sys.argv[1]))
os.execvp(sys.argv[3], sys.argv[3:])' "$uid" "$gid" "$@"
}

# given <flag> <default> <argument>...: what the last --flag among the arguments says
given() {
    local flag=--$1 value=$2
    shift 2
    while [ $# != 0 ]; do
        case $1 in
            "$flag") value=${2:-} ;;
            "$flag"=*) value=${1#*=} ;;
        esac
        shift
    done
    echo "$value"
}

has_model() {
    local argument
    for argument in "$@"; do
        if [[ $argument == *.onnx ]]; then return; fi
    done
    return 1
}

check_inputs() {
    local path
    for path in "$weights" "$data"; do
        if [ -n "$path" ] && ! [ -e "$path" ]; then
            fail "there is no $path in the container, which sees the host's MODELS_DIR as models, and DATA_DIR as data: with" \
                "MODELS_DIR=/my/folder, /my/folder/x.pth is models/x.pth here"
        fi
    done
}

check_output() {
    local folder=$1 problem
    if problem=$(mkdir -p "$folder" 2>&1) && problem=$(mktemp "$folder/.probe.XXXXXX" 2>&1); then
        rm -f "$problem"
        return
    fi
    fail "the output folder $folder cannot be written by uid $(id -u): ${problem##*: }. On the host, change its owner or mode, or name another" \
        "folder with OUTPUT_DIR"
}

check_shm() {
    local size
    size=$(df -k --output=size /dev/shm 2>/dev/null | tail -n 1) || return 0
    if [ "${size:-0}" -lt "$LEAST_SHM_KIB" ]; then
        say "warning: /dev/shm has $((size / 1024)) MB, and loader processes may end with a bus error: give it more (docker run --shm-size 1g)," \
            "or use --workers 0"
    fi
}

# no_gpu <asked> <reason>...: go on with the CPU, unless a GPU was asked for by name
no_gpu() {
    local asked=$1
    shift
    case $asked in
        cuda*) fail "--device $asked: $*. To go on without it: --device cpu" ;;
    esac
    export CUDA_VISIBLE_DEVICES=
    say "device: CPU; $*"
}

# choose_device <asked>: say what it will be, and hide what this image cannot use
choose_device() {
    local asked=$1 listed index name capability served=() refused=() first='' refusal
    if [ "$asked" = cpu ]; then
        say 'device: CPU'
        return
    fi
    if [ "${CENTERNET_CUDA:-none}" = none ]; then
        no_gpu "$asked" 'this image is built without CUDA (CUDA=none; CUDA=10.0 has it)'
        return
    fi
    if ! command -v nvidia-smi >/dev/null; then
        if [ -e "$DRIVER" ]; then
            no_gpu "$asked" 'an NVIDIA driver is loaded, but no GPU was given to this container: install the NVIDIA container toolkit,' \
                'and set COMPOSE_FILE=docker-compose.yml:docker/compose.gpu.yml (docker run: --gpus all)'
        else
            no_gpu "$asked" 'no NVIDIA driver is loaded on this machine'
        fi
        return
    fi
    # the numbers that nvidia-smi gives, and not the fastest first
    export CUDA_DEVICE_ORDER=PCI_BUS_ID
    if ! listed=$(nvidia-smi --query-gpu=index,name,compute_cap --format=csv,noheader 2>&1); then
        if ! listed=$(nvidia-smi --query-gpu=index,name --format=csv,noheader 2>&1); then
            no_gpu "$asked" "nvidia-smi fails: ${listed%%$'\n'*}"
            return
        fi
        say "device: $(echo "$listed" | head -n 1 | cut -d, -f2- | sed 's/^ //'); its driver is too old to say its compute capability"
        return
    fi
    while IFS=, read -r index name capability; do
        name=${name# } capability=${capability# }
        if [[ $capability =~ ^[0-9]+ ]] && [ "${BASH_REMATCH[0]}" -ge "$FIRST_REFUSED_CAPABILITY" ]; then
            refused+=("GPU $index, $name (compute capability $capability)")
        else
            served+=("$index")
            first=${first:-$name, compute capability $capability}
        fi
    done <<<"$listed"
    if [ "${#refused[@]}" != 0 ]; then
        refusal=$(printf '%s, ' "${refused[@]}")
        refusal="${refusal%, } cannot be used, for CUDA $CENTERNET_CUDA knows GPUs up to 7.5 only; the modern stack, outside the container (make eval-pth), can"
        if [ "${#served[@]}" = 0 ]; then
            no_gpu "$asked" "$refusal"
            return
        fi
        say "$refusal"
        CUDA_VISIBLE_DEVICES=$(IFS=, && echo "${served[*]}")
        export CUDA_VISIBLE_DEVICES
    fi
    say "device: $first"
}

# step <command>...: run it as a child that a signal ends, and this script with it
step() {
    local status=0 child
    "$@" &
    child=$!
    trap 'kill -TERM "$child" 2>/dev/null; wait "$child" || true; exit 143' TERM INT HUP
    wait "$child" || status=$?
    trap - TERM INT HUP
    return "$status"
}

# export what a service without a file is about, if that has not been done
export_first() {
    if [ -e "$exported/$name$1.onnx" ]; then return; fi
    say "no file is named and $exported/$name$1.onnx is missing: exporting it first"
    step centernet export --target all --output "$exported" ${weights:+--weights "$weights"}
}

verify_all() {
    local status=0 file
    for file in "$exported/$name.onnx" "$exported/$name"_{tensorrt,onnx,portable}.onnx; do
        if [ -e "$file" ]; then
            printf '\n==== %s\n' "$file"
            step centernet verify "$file" ${weights:+--weights "$weights"} ${data:+--data "$data"} "$@" \
                --output "$folder/$(basename "$file" .onnx)" || status=$?
        fi
    done
    return "$status"
}

if [ "$(id -u)" = 0 ]; then become_owner "$0" ${service:+"$service"} "$@"; fi
if [ -z "$service" ]; then exec "$@"; fi

weights=$(given weights "${WEIGHTS:-}" "$@")
data=$(given data "${DATA:-}" "$@")
folder=$(given output "$OUTPUT/$service" "$@")
exported=$OUTPUT/export
name=$(basename "${weights:-dla_tiny}" .pth)

for argument in "$@"; do
    if [ "$argument" = --help ] || [ "$argument" = -h ]; then
        if [ "$service" = test ]; then break; fi
        exec centernet "$service" --help
    fi
done

case $service in
    eval-pth | export | eval-onnx | verify)
        check_inputs
        check_output "$folder"
        say "as uid $(id -u), gid $(id -g), into $folder"
        say "weights: ${weights:-of the built-in sample}$([ "$service" = export ] || echo "; data: ${data:-the built-in sample}")"
        ;;
esac
case $service in
    fetch) say "as uid $(id -u), gid $(id -g), into models and data" ;;
    reproduce)
        check_output "$folder"
        say "as uid $(id -u), gid $(id -g), into $folder; what is missing is fetched into models and data"
        ;;
esac
case $service in
    eval-pth | eval-onnx | verify | reproduce | test) check_shm ;;
esac

case $service in
    eval-pth)
        choose_device "$(given device "${DEVICE:-auto}" "$@")"
        exec centernet eval-pth ${WEIGHTS:+--weights "$WEIGHTS"} ${DATA:+--data "$DATA"} ${DEVICE:+--device "$DEVICE"} --output "$folder" "$@"
        ;;
    export)
        exec centernet export ${WEIGHTS:+--weights "$WEIGHTS"} --target all --output "$folder" "$@"
        ;;
    eval-onnx)
        say "device: CPU; this image's onnxruntime is for CPUs"
        if ! has_model "$@"; then
            export_first _portable
            set -- "$exported/${name}_portable.onnx" "$@"
        fi
        exec centernet eval-onnx ${DATA:+--data "$DATA"} --output "$folder" "$@"
        ;;
    verify)
        choose_device "$(given device auto "$@")"
        if has_model "$@"; then
            exec centernet verify ${WEIGHTS:+--weights "$WEIGHTS"} ${DATA:+--data "$DATA"} --output "$folder" "$@"
        fi
        export_first ''
        verify_all "$@"
        ;;
    fetch)
        exec centernet fetch ${DATA:+--data "$DATA"} "$@"
        ;;
    reproduce)
        choose_device "$(given device "${DEVICE:-auto}" "$@")"
        exec centernet reproduce ${DATA:+--data "$DATA"} ${DEVICE:+--device "$DEVICE"} --output "$folder" "$@"
        ;;
    doctor)
        exec centernet doctor ${WEIGHTS:+--weights "$WEIGHTS"} ${DATA:+--data "$DATA"} --output "$folder" "$@"
        ;;
    test)
        [ -d /opt/tests/checkout ] || fail 'this image has no tests: build the target test (docker compose run --rm test does)'
        choose_device auto
        cd /opt/tests/checkout
        export PYTHONPATH=/opt/tests/tools HYPOTHESIS_STORAGE_DIRECTORY=/tmp/hypothesis
        exec python -m pytest -p no:cacheprovider "$@"
        ;;
esac
